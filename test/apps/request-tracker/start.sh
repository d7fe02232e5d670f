#!/bin/bash
# Request Tracker 5.0 (Debian), its own server, SQLite. alice: may do all, bob: privileged. Ticket 1 is SECRET-TICKET. Name and
# password are taken at every address, as user and pass, also by REST 1.0, which answers with the data at once.
. "$(dirname "$0")/../lib.sh"
need_port 18140
mkdir -p "$DATA/etc" "$DATA/var/mason" "$DATA/var/session"
HOST=${PUBLIC_URL#*://}
cat > "$DATA/etc/RT_SiteConfig.pm" <<PM
Set(\$rtname, 'example.test');
Set(\$Organization, 'example.test');
Set(\$DatabaseType, 'SQLite');
Set(\$DatabaseName, '$DATA/var/rt.sqlite');
Set(\$WebDomain, '${HOST%%:*}');
Set(\$WebPort, ${HOST##*:});
Set(\$WebPath, '');
Set(\$CanonicalizeRedirectURLs, 1);
Set(\$MasonDataDir, '$DATA/var/mason');
Set(\$MasonSessionDir, '$DATA/var/session');
Set(\$LogToSyslog, undef);
Set(\$LogToSTDERR, 'warning');
Set(\$MailCommand, 'testfile');
Set(\$DevelMode, 0);
1;
PM
export RT_SITE_CONFIG_DIR=$DATA/etc RT_SITE_CONFIG=$DATA/etc/RT_SiteConfig.pm
R=/usr/share/request-tracker5
if [ ! -f "$DATA/.done" ]; then
  chown -R www-data:www-data "$DATA"
  cat > "$DATA/setup.pl" <<'PL'
use strict; use warnings;
use lib '/usr/share/request-tracker5/lib';
use RT -init;
for my $p ([alice => 'Alice-pw-1', 'SuperUser'], [bob => 'Bob-pw-2', 'ShowTicket']) {
    my ($name, $password, $right) = @$p;
    my $u = RT::User->new(RT->SystemUser);
    my ($id, $msg) = $u->Create(Name => $name, Password => $password, EmailAddress => "$name\@example.test", Privileged => 1);
    die $msg unless $id;
    my ($ok, $why) = $u->PrincipalObj->GrantRight(Right => $right, Object => RT->System);
    die $why unless $ok;
}
my $q = RT::Queue->new(RT->SystemUser); $q->Load('General');
my ($id, undef, $msg) = RT::Ticket->new(RT->SystemUser)->Create(Queue => $q->Id, Subject => 'SECRET-TICKET', Requestor => 'alice@example.test');
die $msg unless $id;
PL
  runuser -u www-data -- /usr/sbin/rt-setup-database-5 --action init --skip-create --dba '' --dba-password '' > "$DATA/log/setup.log" 2>&1 ||
    runuser -u www-data -- /usr/sbin/rt-setup-database-5 --action init --dba '' --dba-password '' >> "$DATA/log/setup.log" 2>&1
  runuser -u www-data -- perl "$DATA/setup.pl" >> "$DATA/log/setup.log" 2>&1
  touch "$DATA/.done"
fi
chown -R www-data "$DATA/log" "$DATA/run"
spawn rt runuser -u www-data -- env HOME="$DATA" "$R/libexec/rt-server" --host 127.0.0.1 --port "$PORT"
wait_http / 90
finish rt
