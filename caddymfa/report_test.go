package caddymfa

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const observedLog = `{"level":"info","logger":"http.log.access","msg":"handled request","observed":1}
{"msg":"observed","reason":"login","app":"Payroll","rule":"form","client":"with_session","status":302,"method":"POST","path":"/login","verdict":"accepted"}
{"msg":"observed","reason":"login","app":"Payroll","rule":"form","client":"stranger","status":200,"method":"POST","path":"/login","verdict":"rejected"}
{"msg":"observed","reason":"gated","app":"Payroll","client":"signed_in","status":200,"method":"GET","path":"/home"}
{"msg":"observed","reason":"gated","app":"Payroll","client":"stranger","status":302,"method":"GET","path":"/home"}
{"msg":"observed","reason":"gated","app":"Payroll","client":"stranger","status":200,"method":"GET","path":"/imprint","params":["lang"]}
{"msg":"observed","reason":"gated","app":"Payroll","client":"stranger","status":302,"method":"POST","path":"/reset"}
{"msg":"observed","reason":"gated","app":"Payroll","client":"stranger","status":200,"method":"GET","path":"/register","new_session":true}
{"msg":"observed","reason":"gated","app":"Payroll","client":"stranger","status":200,"method":"GET","path":"/feed","credentials":true}
{"msg":"observed","reason":"trap","app":"Payroll","client":"signed_in","status":200,"method":"POST","path":"/graphql"}
{"msg":"observed","reason":"gated","app":"Payroll","client":"stranger","status":200,"method":"GET","path":"/x\ndeny \"{y}"}
not json
`

func TestReportEndsInReadyLines(t *testing.T) {
	log := observedLog
	for i := range 5 {
		log += fmt.Sprintf(`{"msg":"observed","reason":"gated","app":"Payroll","client":"with_session","status":200,"method":"GET","path":"/help/%d.html"}`+"\n", i)
	}
	o := newObservations()
	if err := o.read(strings.NewReader(log)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := o.write(&b); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"# Payroll: 15 requests\n", "1 accepted, 1 rejected",
		"\npublic GET /help/* # 5×, perhaps by users who had signed in before\n", "\npublic GET /imprint # 1×, with the parameters lang\n",
		"\nlogin_flow POST /reset #", "\nlogin_flow GET /register #", "\ndeny GET /feed #", "\ndeny POST /graphql #",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(got, "/home") || strings.Contains(got, "\ndeny \"") {
		t.Error("a page of users, or what a client sent, became a line")
	}
	h := new(Handler)
	if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("mfa {\n" + got + "\n}")); err != nil {
		t.Errorf("the lines cannot be read: %v", err)
	}
	if len(h.Public) != 2 || len(h.LoginFlow) != 2 || len(h.Deny) != 2 {
		t.Errorf("%d public, %d login_flow, %d deny", len(h.Public), len(h.LoginFlow), len(h.Deny))
	}
	if t.Failed() {
		t.Log(got)
	}
}
