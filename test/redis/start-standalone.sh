#!/usr/bin/env bash
# One server: plain TCP on REDIS_PORT, TLS on REDIS_PORT+1, a unix socket, and two ACL users.
#   default   no password on the plain port unless REDIS_ACL=1 (then: off)
#   caddymfa  password from REDIS_PASSWORD (default "caddymfa-test"), only keys and channels mfa:*
#   readonly  same password, may only read mfa:* (a client that must see NOPERM)
#   admin     same password, may do everything: the operator who makes a mistake
# REDIS_MTLS=1 makes the TLS port ask for a client certificate.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${REDIS_PASSWORD:=caddymfa-test}"
tls="$REDIS_DIR/tls"; mkdir -p "$tls"
if [ ! -s "$tls/ca.crt" ]; then
  q="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
  openssl req -x509 $q -keyout "$tls/ca.key" -out "$tls/ca.crt" -days 3650 -subj "/CN=redis test CA" 2>/dev/null
  for n in server client; do
    openssl req $q -keyout "$tls/$n.key" -out "$tls/$n.csr" -subj "/CN=$n" 2>/dev/null
    openssl x509 -req -in "$tls/$n.csr" -CA "$tls/ca.crt" -CAkey "$tls/ca.key" -CAcreateserial -days 3650 \
      -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n') \
      -out "$tls/$n.crt" 2>/dev/null
  done
fi
c=$(conf standalone "$REDIS_PORT")
auth="no"; [ "${REDIS_MTLS:-0}" = 1 ] && auth="yes"
cat >>"$c" <<CONF
unixsocket $REDIS_DIR/redis.sock
unixsocketperm 700
tls-port $((REDIS_PORT + 1))
tls-cert-file $tls/server.crt
tls-key-file $tls/server.key
tls-ca-cert-file $tls/ca.crt
tls-auth-clients $auth
tls-protocols "TLSv1.2 TLSv1.3"
user caddymfa on >$REDIS_PASSWORD resetkeys resetchannels ~mfa:* &mfa:* -@all +@read +@write +@connection +@transaction +@pubsub -@dangerous +eval +evalsha +eval_ro +evalsha_ro +script|load +script|exists +wait +info +time +role +command +cluster|slots +cluster|shards
user readonly on >$REDIS_PASSWORD resetkeys resetchannels %R~mfa:* -@all +@read +@connection
user admin on >$REDIS_PASSWORD ~* &* +@all
CONF
# off, but not without rights: with those of this user Redis 7.0 runs the append-only
# file when it starts, and drops every transaction (so every script) it may not do
[ "${REDIS_ACL:-0}" = 1 ] && echo "user default off ~* &* +@all" >>"$c"
launch standalone "$c"
up() { redis-cli --no-auth-warning -h 127.0.0.1 -p "$REDIS_PORT" --user caddymfa --pass "$REDIS_PASSWORD" ping 2>/dev/null | grep -q PONG; }
wait_for "the server on $REDIS_PORT" up
cat <<OUT
REDIS_DIR=$REDIS_DIR
ADDR=127.0.0.1:$REDIS_PORT
TLS_ADDR=127.0.0.1:$((REDIS_PORT + 1))
SOCKET=$REDIS_DIR/redis.sock
CA=$tls/ca.crt
OUT
