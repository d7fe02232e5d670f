package caddymfa

import (
	"encoding/json"
	"flag"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"pgregory.net/rapid"

	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

var update = flag.Bool("update", false, "write the goldens anew")

const globalBlock = "{\n\tmfa {\n\t\tsms console\n\t\tcountries GB\n\t}\n}\n"

func adapt(text string) (string, error) {
	a := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	out, _, err := a.Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var v any
	if err := json.Unmarshal(out, &v); err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(v, "", "\t")
	return string(b) + "\n", err
}

// TestGoldens adapts every file in testdata/adapt. Behind the line of dashes
// stands the JSON.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatal("no goldens")
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		in, want, _ := strings.Cut(string(b), "\n----------\n")
		got, err := adapt(in)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if *update {
			if err := os.WriteFile(file, []byte(in+"\n----------\n"+got), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got != want {
			t.Errorf("%s:\n%s", file, got)
		}
	}
}

// TestErrors holds every mistake against what its error must say. Some show
// when the file is adapted, some when the configuration is provisioned.
func TestErrors(t *testing.T) {
	site := func(block string) string {
		return globalBlock + "http://a.example.com:9999 {\n\tmfa {\n" + block + "\n\t}\n}\n"
	}
	global := func(block string) string { return "{\n\tmfa {\n" + block + "\n\t}\n}\n:9999 {\n\trespond ok\n}\n" }
	const reported = "countries GB\nsms twilio {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\nfrom +447700900000\nstatus_callback https://app.example.com/mfa/receipts\nreceipt_timeout 30s\n}"
	const ok = "login {\npath /l\nuser constant x\nsuccess cookie x\n}\n"
	for name, tc := range map[string]struct{ in, want string }{
		"second global block":           {"{\nmfa {\nsms console\n}\nmfa {\nsms console\n}\n}\n", "second global mfa block"},
		"J12 path matcher":              {globalBlock + "http://a.example.com:9999 {\nmfa /admin/* {\n" + ok + "}\n}\n", "public, at Caddyfile:8"},
		"J12 named matcher":             {globalBlock + "http://a.example.com:9999 {\n@x not path /a\nmfa @x {\n" + ok + "}\n}\n", "matcher"},
		"no global block":               {"http://a.example.com:9999 {\nmfa {\n" + ok + "}\n}\n", "needs the global option mfa"},
		"a global block that fails":     {strings.Replace(globalBlock, "countries GB", "countries XX", 1) + "http://a.example.com:9999 {\nmfa {\n" + ok + "}\n}\n", `country "XX" is not known`},
		"no sms":                        {global("countries GB"), "no sms block"},
		"no countries":                  {global("sms console"), "countries is missing"},
		"unknown country":               {global("sms console\ncountries XX"), "XX"},
		"unknown global word":           {global("smss console"), "without effect"},
		"I1 unknown sender":             {global("sms pigeon"), "twilio"},
		"I1 redis without secret":       {global("sms console\ncountries GB\nstore redis redis://127.0.0.1:1"), "secret is missing"},
		"K34 replicas_ack that is none": {global("sms console\ncountries GB\nsecret a-secret-of-the-tests-with-32-bytes-or-more\nstore redis redis://127.0.0.1:1 {\nreplicas_ack all\n}"), `replicas_ack "all" is no number`},
		"K34 fewer replicas than none":  {global("sms console\ncountries GB\nsecret a-secret-of-the-tests-with-32-bytes-or-more\nstore redis redis://127.0.0.1:1 {\nreplicas_ack -1\n}"), `replicas_ack "-1" is no number`},
		"I1 short secret":               {global("sms console\ncountries GB\nsecret short"), "at least 32"},
		"I1 missing secret file":        {global("sms console\ncountries GB\nsecret {file./no/such/file}"), "secret 1"},
		"twilio without sender":         {global("sms twilio {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\n}\ncountries GB"), "from, or messaging_service"},
		"twilio: unknown word":          {global("sms twilio {\nriskcheck on\n}"), "use api_key, account_sid, address_retention, api_url"},
		"twilio: a word twice":          {global("sms twilio {\nrisk_check on\nrisk_check off\n}"), "twice"},
		"twilio: risk_check":            {global("sms twilio {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\nfrom +15005550006\nrisk_check enable\n}"), "risk_check is on or off"},
		"twilio: content_retention":     {global("sms twilio {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\nfrom +15005550006\ncontent_retention off\n}"), "can only be discard"},
		"twilio: address_retention":     {global("sms twilio {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\nfrom +15005550006\naddress_retention discard\n}"), "can only be obfuscate"},
		"verify: unknown word":          {global("sms twilio_verify {\nfrom +15005550006\n}"), "use api_key, account_sid, api_url, auth_token, risk_check, service, template"},
		"verify: an argument":           {global("sms twilio_verify VA0123456789abcdef0123456789abcdef"), "wrong argument count"},
		"verify: api_key in one word":   {global("sms twilio_verify {\napi_key SK0123456789abcdef0123456789abcdef\n}"), "SID and its secret"},
		"verify without a service":      {global("sms twilio_verify {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\n}"), "service is missing"},
		"verify: another's service":     {global("sms twilio_verify {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\nservice MG0123456789abcdef0123456789abcdef\n}"), "VA and 32"},
		"verify: template":              {global("sms twilio_verify {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\nservice VA0123456789abcdef0123456789abcdef\ntemplate default\n}"), "HJ and 32"},
		"verify: risk_check":            {global("sms twilio_verify {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\nservice VA0123456789abcdef0123456789abcdef\nrisk_check no\n}"), "on or off"},
		"webhook: unknown word":         {global("sms webhook https://x.test {\ntimeout 5s\n}"), "use method, header, body, form, secret or success"},
		"webhook: method":               {global("sms webhook https://x.test {\nmethod GET\n}"), "POST or PUT"},
		"webhook: a header twice":       {global("sms webhook https://x.test {\nheader X-A 1\nheader x-a 2\n}"), "twice"},
		"webhook: body twice":           {global("sms webhook https://x.test {\nbody `{\"a\":\"{to}{text}\"}`\nbody x\n}"), "twice"},
		"webhook: body and form":        {global("sms webhook https://x.test {\nbody `{\"a\":\"{to}{text}\"}`\nform to {to}\n}"), "body and form are both there"},
		"webhook: body is no JSON":      {global("sms webhook https://x.test {\nbody to={to}&text={text}\n}"), "no JSON"},
		"webhook: unknown placeholder":  {global("sms webhook https://x.test {\nbody `{\"a\":\"{to}{message}\"}`\n}"), "{message} is unknown"},
		"webhook: form without a value": {global("sms webhook https://x.test {\nform to\n}"), "a field's name and its value"},
		"webhook: form's placeholder":   {global("sms webhook https://x.test {\nform to {number}\n}"), "form to: {number} is unknown"},
		"I1 webhook: missing secret":    {global("sms webhook https://x.test {\nform to {to}\nform text {text}\nform key {env.NO_SUCH_KEY}\n}"), "form key"},
		"webhook: success by a cookie":  {global("sms webhook https://x.test {\nsuccess cookie a\n}"), "status, json and body"},
		"webhook: success on no 2xx":    {global("sms webhook https://x.test {\nsuccess status 302\n}"), "2xx only"},
		"webhook: success on a class":   {global("sms webhook https://x.test {\nsuccess status 4xx\n}"), "2xx only"},
		"webhook: success, unquoted":    {global("sms webhook https://x.test {\nsuccess json status ok\n}"), "in quotes"},
		"webhook: success, no word":     {global("sms webhook https://x.test {\nsuccess 200\n}"), "is no condition"},
		"webhook: success, bad regexp":  {global("sms webhook https://x.test {\nsuccess body (?!x)\n}"), "RE2"},
		"success: no status":            {site("login {\npath /l\nuser constant x\nsuccess cookie x status 9xx\n}"), "no final HTTP status"},
		"success: a bare class":         {site("login {\npath /l\nuser constant x\nsuccess cookie x status 2\n}"), "such as 3xx"},
		"twilio with three tokens":      {global("sms twilio {\nauth_token a b c\n}"), "the other one while it is changed"},
		"receipt_timeout without time":  {global("sms twilio {\nreceipt_timeout soon\n}"), "duration"},
		"receipt_timeout twice":         {global("sms twilio {\nreceipt_timeout 5s\nreceipt_timeout 6s\n}"), "twice"},
		"receipts that nobody sends":    {global(strings.Replace(reported, "status_callback https://app.example.com/mfa/receipts\n", "", 1) + "\nsms console"), "without status_callback"},
		"receipts, and nobody behind":   {global("sms console\n" + reported), "add another sms block after it"},
		"receipts too soon":             {global(strings.Replace(reported, "30s", "1s", 1) + "\nsms console"), "5s to 2m"},
		"cache: too small":              {global("sms console\ncountries GB\ncache 64KiB"), "at least 1MiB"},
		"cache: no size":                {global("sms console\ncountries GB\ncache much"), "at least 1MiB"},
		"cache twice":                   {global("sms console\ncountries GB\ncache 1MiB\ncache 2MiB"), "twice"},
		"ip_logins without a window":    {global("sms console\ncountries GB\nlimits {\nip_logins 100\n}"), "ip_logins 10 24h"},
		"template without code":         {global("sms console\ncountries GB\ntemplate default {\nen \"hello\"\n}"), "{code}"},
		"a named template's text":       {global("sms console\ncountries GB\ntemplate other {\nen \"no code\"\n}"), "template other"},
		"long life of a code":           {global("sms console\ncountries GB\ncode {\nlifetime 11m\n}"), "10m"},
		"short codes":                   {global("sms console\ncountries GB\ncode {\nlength 4\n}"), "6 to 10"},
		"a directory of another kind":   {global("sms console\ndirectory sql x"), "file, http, ldap"},
		"ldap without a base":           {global("sms console\ncountries GB\ndirectory ldap ldaps://x"), "base is missing"},
		"ldap in clear text":            {global("sms console\ncountries GB\ndirectory ldap ldap://x.test {\nbase dc=x\nbind_dn cn=x\nbind_password y\n}"), "clear text"},
		"ldap twice the same":           {global("sms console\ncountries GB\ndirectory ldap ldaps://x {\nbase dc=x\nbase dc=y\n}"), "twice"},
		"http without the user":         {global("sms console\ncountries GB\ndirectory http https://x.test/"), "{user}"},
		"http with another word":        {global("sms console\ncountries GB\ndirectory http https://x.test/{user} {\nmethod POST\n}"), "no setting"},
		"api without a key":             {global("sms console\ncountries GB\napi {\nsecret 0123456789abcdef\n}"), "key is missing"},
		"api with a short key":          {global("sms console\ncountries GB\napi {\nkey short\n}"), "8 to 256"},
		"api with a short secret":       {global("sms console\ncountries GB\napi {\nkey 01234567\nsecret 01234567\n}"), "16 to 256"},
		"api with a blank in a key":     {global("sms console\ncountries GB\napi {\nkey \"0123 4567\"\n}"), "without blanks"},
		"api: secret is the key":        {global("sms console\ncountries GB\napi {\nkey 0123456789abcdef\nsecret 0123456789abcdef\n}"), "is no secret"},
		"api: two clients, one key":     {global("sms console\ncountries GB\napi {\nkey 01234567\n}\napi {\nkey 01234567\n}"), "the key of another"},
		"api: two prefixes":             {global("sms console\ncountries GB\napi {\nkey 01234567\nprefix /a\n}\napi {\nkey 01234568\nprefix /b\n}"), "below the same one"},
		"api: strange prefix":           {global("sms console\ncountries GB\napi {\nkey 01234567\nprefix /a/../b\n}"), "prefix"},
		"api: origin with a path":       {global("sms console\ncountries GB\napi {\nkey 01234567\nallow_origin https://x.example/a\n}"), "scheme and host"},
		"api: any origin":               {global("sms console\ncountries GB\napi {\nkey 01234567\nallow_origin *\n}"), "scheme and host"},
		"api: no rate":                  {global("sms console\ncountries GB\napi {\nkey 01234567\nlogins 20\n}"), "numbers above 0 and a duration"},
		"api: a rate that only records": {global("sms console\ncountries GB\napi {\nkey 01234567\nlogins 20 15m record\n}"), "guess passwords"},
		"api: unknown word":             {global("sms console\ncountries GB\napi {\nkee 01234567\n}"), "no setting of api"},
		"api: a word twice":             {global("sms console\ncountries GB\napi {\nkey 01234567\nkey 01234568\n}"), "twice"},
		"api: missing secret file":      {global("sms console\ncountries GB\napi {\nkey 01234567\nsecret {file./no/such/file}\n}"), "secret of client 1"},
		"api over our own routes":       {strings.Replace(globalBlock, "countries GB", "countries GB\n\t\tapi {\n\t\t\tkey 01234567\n\t\t\tprefix /mfa/api\n\t\t}", 1) + "http://a.example.com:9999 {\nmfa {\napp x\n" + ok + "}\n}\n", "lies within the other"},
		"fill without password":         {site("login {\npath /l\nuser constant x\nsuccess cookie x\nfill a b\n}"), "fill without password"},
		"fill elsewhere":                {site("login {\npath /l\nuser constant x\npassword form p\nsuccess cookie x\nfill /m a b\n}"), "no path of this login"},
		"fill without a value":          {site("login {\npath /l\nuser constant x\npassword form p\nsuccess cookie x\nfill a\n}"), "names with their values"},
		"twice a word":                  {global("sms console\ncountries GB\ncountries DE"), "twice"},
		"I1 missing directory":          {global("sms console\ncountries GB\ndirectory file /no/such/file"), "no such file"},
		"no login":                      {site("app x"), "nobody could ever sign in"},
		"unknown word":                  {site("publik /x"), "without effect"},
		"single word twice":             {site("app x\napp y"), "twice"},
		"I1 unknown preset":             {site("preset nope"), "wordpress"},
		"two presets":                   {site("preset wordpress\npreset wordpress /b"), "preset is there twice"},
		"first factor and a login":      {site(ok + "first_factor {http.auth.user.id}"), "never seen"},
		"first factor is a constant":    {site("first_factor alice"), "placeholder"},
		"token in a third place":        {site(ok + "token cookie x"), "json and a dotted path"},
		"a home elsewhere":              {site(ok + "home https://evil.test/"), "home https://evil.test/: write the path of a page"},
		"two words before a token":      {site(ok + "token json a Token\ntoken json b JWT"), "one word before its tokens"},
		"no word before a token":        {site(ok + "token json a \"To ken\""), "no word for the field Authorization"},
		"token_query alone":             {site(ok + "token_query access_token"), "token_query without token"},
		"challenge status":              {site(ok + "challenge_status 401"), "403 or 200"},
		"mode":                          {site(ok + "mode watch"), "enforce or observe"},
		"bridge":                        {site(ok + "bridge yes"), "on or off"},
		"browser_cache":                 {site(ok + "browser_cache 5m"), "browser_cache: write on or off"},
		"trusted device":                {site(ok + "trusted_device 60d"), "at most 720h"},
		"G6 basic without a directory":  {site("login {\nbasic /x\n}"), "nobody could enrol"},
		"basic with a condition":        {site("login {\nbasic /x\nsuccess status 200\n}"), "without effect"},
		"basic without a path":          {site("login {\nbasic x\n}"), "one slash"},
		"basic's user from a form":      {site("login {\nbasic /x\nuser form u\n}"), "says nothing"},
		"user basic without basic":      {site("login {\npath /l\nuser basic\nsuccess cookie x\n}"), "only a login with basic"},
		"K5 hold follow without a path": {site("login {\npath /l\nuser constant x\nsuccess cookie x\nhold follow\n}"), "as in hold follow /home"},
		"K5 hold follow elsewhere":      {site("login {\npath /l\nuser constant x\nsuccess cookie x\nhold follow //evil.example/\n}"), "needs the path of the page"},
		"K5 next without a path":        {site("login {\npath /l\nuser constant x\nsuccess next status 200 body x\n}"), "as in next /home status 200"},
		"K31 braces in identity":        {site("login {\npath /l\nidentity /me/{name} (x)\n}"), "{user} may stand in it"},
		"K31 braces in basic":           {site("login {\nbasic /{id}/\n}"), "{user} may stand in it"},
		"K31 basic's status":            {site("login {\nbasic /x 401\n}"), "can mean a right password"},
		"K31 basic's status is none":    {site("login {\nbasic /x nope\n}"), "further statuses"},
		"K8 app with another word":      {site(ok + "app x together"), "shared"},
		"a spool of nothing":            {global("sms console\ncountries GB\nspool none"), "64KiB or 1GiB"},
		"short hold":                    {site("login {\npath /l\nuser constant x\nsuccess cookie x\nhold 5s\n}"), "30s to 10m"},
		"invite with optional":          {site(ok + "policy optional\nenroll invite"), "asked for his invitation"},
		"another way to enrol":          {site(ok + "enroll everybody"), "use self, directory or invite"},
		"J9 status alone":               {site("login {\npath /l\nuser constant x\nsuccess status 302\n}"), "wrong passwords"},
		"J9 location alone":             {site("login {\npath /l\nuser constant x\nsuccess location /home\n}"), "wrong passwords"},
		"J9 not alone":                  {site("login {\npath /l\nuser constant x\nsuccess not body wrong\n}"), "wrong passwords"},
		"J9 changed cookie alone":       {site("login {\npath /l\nuser constant x\nsuccess cookie_changed sid\n}"), "wrong passwords"},
		"J9 one weak line of two":       {site("login {\npath /l\nuser constant x\nsuccess cookie a\nsuccess status 302\n}"), "wrong passwords"},
		"J9 nothing":                    {site("login {\npath /l\nuser constant x\n}"), "nothing tells a right password"},
		"any_path without fields":       {site("login_page /\nlogin {\nany_path\nuser constant x\nsuccess cookie a\n}"), "every request"},
		"any_path without login_page":   {site("login {\nany_path\nfields u\nuser constant x\nsuccess cookie a\n}"), "login_page is missing"},
		"login without path":            {site("login {\nuser constant x\nsuccess cookie a\n}"), "Name a path"},
		"I1 bad regexp":                 {site("login {\npath /l\nuser constant x\nsuccess cookie (?!x)\n}"), "RE2"},
		"identity without group":        {site("login {\npath /l\nidentity /me name\n}"), "exactly one"},
		"path with a query":             {site("login {\npath /l?x=1\nuser constant x\nsuccess cookie a\n}"), "query"},
		"path not canonical":            {site("login {\npath /a/../l\nuser constant x\nsuccess cookie a\n}"), "canonical"},
		"F3 self without identity":      {site("login {\npath /l\nuser form u\nsuccess cookie a\n}\nenroll self"), "who was logged in"},
		"F3 optional without identity":  {site("login {\npath /l\nuser form u\nsuccess cookie a\n}\npolicy optional"), "who was logged in"},
		"G6 nobody could enrol":         {site("login {\npath /l\nuser form u\nsuccess cookie a\n}"), "nobody could enrol"},
		"directory without one":         {site(ok + "enroll directory"), "no directory"},
		"assets by another word":        {site(ok + "public_assets yes"), "on, off, or the paths"},
		"assets in two words":           {site(ok + "public_assets on /x/*"), "on, off, or the paths"},
		"assets nowhere":                {site(ok + "public_assets /x/../y"), "canonical"},
		"J9 deleted cookie alone":       {site("login {\npath /l\nuser constant x\nsuccess cookie_deleted sid\n}"), "wrong passwords"},
		"trap on the body":              {site(ok + "trap body welcome"), "before an answer leaves"},
		"braces in login_page":          {site(ok + "login_page /l?x={host}"), "{next}"},
		"script cookie is session":      {site(ok + "session_cookies ^S$\nscript_cookies S"), "session cookie"},
		"strange prefix":                {site(ok + "path mfa"), "prefix"},
		"huge reply":                    {site(ok + "max_reply 10MiB"), "512KiB"},
		"short idle":                    {site(ok + "session {\nidle 1s\n}"), "idle"},
		"same login twice":              {site("login a {\npath /l\nuser constant x\nsuccess cookie a\n}\nlogin a {\npath /m\nuser constant x\nsuccess cookie a\n}"), "twice"},
		"no condition":                  {site("login {\npath /l\nuser constant x\nsuccess 302\n}"), "is no condition"},
		"empty trap":                    {site(ok + "trap"), "name a condition"},
		"deny without path":             {site(ok + "deny POST"), "name a path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_DATA_HOME", t.TempDir())
			err := provision(tc.in)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			// Whichever of the two apps Caddy loads first.
			if err != nil && strings.Contains(err.Error(), "needs the global option") != (name == "no global block") {
				t.Errorf("the global option is missing, says %v", err)
			}
		})
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for _, in := range []string{
		site(ok), site("preset wordpress"), site("login {\npath /l\nuser constant x\nsuccess cookie x status 3xx\n}"),
		global("countries GB\nsms webhook https://x.test {\nform to {to}\nform text {text}\nsuccess status 2xx json ok true\n}"),
		global("countries GB\nsms twilio_verify {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token x1\nservice VA0123456789abcdef0123456789abcdef\n}"),
	} {
		if err := provision(in); err != nil {
			t.Errorf("%v", err)
		}
	}
	for _, in := range []string{site("preset wordpress /blog\nlogin wordpress {\npath /l\nuser constant x\nsuccess cookie a\n}\npublic /*")} {
		if err := provision(in); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// TestErrorsNameFileAndLine: of what is wrong in a block, not only of its grammar.
func TestErrorsNameFileAndLine(t *testing.T) {
	const head = "{\n\tmfa {\n\t\tsms console\n\t\tcountries GB\n\t}\n}\n:9999 {\n\tmfa {\n" // eight lines
	for in, want := range map[string]string{
		"login {\npath /l\nuser constant x\nsuccess cookie (?!x)\n}\n":     "Caddyfile:12",
		"login {\npath /l\nuser constant x\nsuccess status 302\n}\n":       "Caddyfile:13",
		"login {\npath /a/../l\nuser constant x\nsuccess cookie x\n}\n":    "/a/../l",
		"preset wordpress\npublic /a/../b\n":                               "Caddyfile:10",
		"preset nope\n":                                                    "Caddyfile:9",
		"preset wordpress\ntrap header Set-Cookie x\n":                     "Caddyfile:10",
		"preset wordpress\nlogin wordpress {\nidentity /x y\npath /l\n}\n": "Caddyfile:13",
	} {
		_, err := adapt(head + in + "\t}\n}\n")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:") {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// provision adapts and validates, as "caddy validate" does.
func provision(text string) error {
	cfg, err := config(text)
	if err != nil {
		return err
	}
	return caddy.Validate(cfg)
}

// config adapts a Caddyfile to a configuration without an admin endpoint.
func config(text string) (cfg *caddy.Config, err error) {
	out, err := adapt(text)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(out), &cfg); err != nil {
		return nil, err
	}
	off := false
	cfg.Admin = &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &off}}
	return cfg, nil
}

func TestExamplesAndPresetsLoad(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for k, v := range map[string]string{"TWILIO_ACCOUNT_SID": "AC0123456789abcdef0123456789abcdef", "TWILIO_AUTH_TOKEN": "0123456789abcdef", "TWILIO_FROM": "+447400000000"} {
		t.Setenv(k, v)
	}
	b, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := provision(string(b)); err != nil {
		t.Error(err)
	}
	numbers := filepath.Join(t.TempDir(), "numbers")
	if err := os.WriteFile(numbers, []byte("alice +447400123456\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	directory := strings.Replace(globalBlock, "sms console", "sms console\n\t\tdirectory file "+numbers, 1)
	for _, name := range login.Presets() {
		for _, global := range []string{globalBlock, directory} {
			err := provision(global + "http://localhost:9999 {\n\tmfa {\n\t\tpreset " + name + "\n\t}\n\treverse_proxy 127.0.0.1:1\n}\n")
			// Django's pages do not name the user for certain.
			if name == "django" && global == globalBlock {
				if err == nil || !strings.Contains(err.Error(), "nobody could enrol") {
					t.Errorf("preset %s: %v", name, err)
				}
			} else if err != nil {
				t.Errorf("preset %s: %v", name, err)
			}
		}
	}
}

// TestAPresetComesFirstWhereverItStands: the operator's lines add to it or
// replace it, and its deny and trap cannot be taken away.
func TestAPresetComesFirstWhereverItStands(t *testing.T) {
	lines := []string{"preset wordpress /blog", "login_page /x", "public /help/*", "login wordpress {\npath /l\nuser constant x\nsuccess cookie a\n}"}
	var want string
	for i := range lines {
		block := strings.Join(append(append([]string{}, lines[i:]...), lines[:i]...), "\n")
		got, err := adapt(globalBlock + "http://localhost:9999 {\nmfa {\n" + block + "\n}\n}\n")
		if err != nil {
			t.Fatalf("%s: %v", block, err)
		}
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s:\n%s", block, got)
		}
	}
	for _, s := range []string{`"login_page": "/x"`, `"/l"`, `"/help/*"`, `"/blog/xmlrpc.php"`} {
		if !strings.Contains(want, s) {
			t.Errorf("%s is missing:\n%s", s, want)
		}
	}
}

// TestPresetsHoldUnderABasePath: with a base path, no path of a preset may lie
// outside of it, or a rule would watch an address that is not there.
func TestPresetsHoldUnderABasePath(t *testing.T) {
	for _, name := range login.Presets() {
		block := func(preset string) *Handler {
			h := new(Handler)
			if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("mfa {\n" + preset + "\n}")); err != nil {
				t.Fatal(err)
			}
			return h
		}
		atRoot, below := pathsOf(block("preset "+name)), pathsOf(block("preset "+name+" /old/"))
		if len(atRoot) < 3 {
			t.Fatalf("%s has only the paths %v", name, atRoot)
		}
		for i, p := range atRoot {
			if below[i] != "/old"+p {
				t.Errorf("preset %s: %s is %s below /old", name, p, below[i])
			}
		}
	}
}

func pathsOf(h *Handler) []string {
	out := []string{h.LoginPage}
	for _, l := range h.Logins {
		out = append(out, l.Paths...)
		if l.Identity != nil {
			out = append(out, l.Identity.Path)
		}
	}
	for _, list := range [][]match.Request{h.LoginFlow, h.Public, h.Deny} {
		for _, q := range list {
			out = append(out, q.Paths...)
		}
	}
	for _, l := range h.Logouts {
		out = append(out, l.Paths...)
	}
	return append(out, h.PublicAssetPaths...)
}

func TestSecretsStayPlaceholders(t *testing.T) {
	t.Setenv("MFA_TEST_SECRET", "a secret value of more than 32 bytes, never shown")
	got, err := adapt("{\n\tmfa {\n\t\tsecret {env.MFA_TEST_SECRET}\n\t\tsms twilio {\n\t\t\tauth_token {env.MFA_TEST_SECRET}\n\t\t}\n\t\tapi {\n\t\t\tkey {env.MFA_TEST_SECRET}\n\t\t\tsecret {env.MFA_TEST_SECRET}\n\t\t}\n\t}\n}\n")
	if err != nil || strings.Contains(got, "never shown") || strings.Count(got, "{env.MFA_TEST_SECRET}") != 4 {
		t.Fatalf("%v\n%s", err, got)
	}
}

// TestAttack_C6_PathsMatchAsCaddysDo compares our path matcher with Caddy's on
// random patterns and paths.
func TestAttack_C6_PathsMatchAsCaddysDo(t *testing.T) {
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`/([abA]{0,2}/){0,2}[abA.]{0,3}\*?|\*[ab./]{1,4}|\*[ab]{1,2}\*|/[ab]\*/[ab]|/\[ab\][ab]?`).Draw(t, "pattern")
		if strings.Contains(pattern, "//") || strings.Contains(pattern, "/./") || strings.Contains(pattern, "/../") {
			return
		}
		m, err := match.ParsePath(pattern)
		if err != nil {
			t.Fatal(err)
		}
		caddys := caddyhttp.MatchPath{strings.ToLower(pattern)}
		for range 2000 {
			p := rapid.StringMatching(`/([abAB]{0,3}/?){0,3}[ab.]{0,3}`).Draw(t, "path")
			clean := path.Clean(p)
			if strings.Contains(p, "//") || clean != p && clean+"/" != p {
				continue
			}
			if got, want := m.Match(strings.ToLower(p)), matches(caddys, p); got != want {
				t.Fatalf("%q on %q: %v, Caddy says %v", pattern, p, got, want)
			}
			n++
		}
	})
	if n < 100_000 {
		t.Fatalf("only %d comparisons", n)
	}
}
