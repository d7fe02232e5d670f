package sms

import (
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/lang"
	"github.com/caddymfa/caddymfa/test/servers"
)

// Segments are counted as Twilio's own calculator counts them, in all texts that are
// built in and in texts of every kind of character.
func TestSegmentsAreTwilios(t *testing.T) {
	dir := servers.NPM(t, "segments", "sms-segments-calculator")
	tpl := templates(t, nil)
	var texts []string
	for _, l := range lang.BuiltIn {
		for _, v := range []Vars{
			{Code: "123456", App: "Payroll", Minutes: 5, Host: "pay.example.com"},
			{Code: "1234567890", App: strings.Repeat("A", 40), Minutes: 10, Host: strings.Repeat("a", 50) + ".example.com"},
			{Code: "123456", App: "Płace 給与 €", Minutes: 1},
		} {
			texts = append(texts, tpl.Render(l, v))
			for what := range builtIn().notices {
				texts = append(texts, tpl.Notice(what, l, v))
			}
		}
	}
	alphabets := [][]rune{
		[]rune(gsmBasic), []rune(gsmBasic + gsmExtension), []rune("abc€^{}[]~|\\"), []rune("aбвгд"), []rune("漢字かな"), []rune("a😀👍🏽é"), []rune("añóİışăț’“”–…"),
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same texts in every run
	for i := range 420 {
		alphabet := alphabets[i%len(alphabets)]
		var b strings.Builder
		// Most about where one segment becomes two, or two three.
		for range []int{10, 60, 70, 75, 134, 140, 150, 160, 165, 306, 320, 480}[random.IntN(12)] + random.IntN(12) {
			b.WriteRune(alphabet[random.IntN(len(alphabet))])
		}
		texts = append(texts, b.String())
	}
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "count.cjs")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(string(in))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers [][2]any
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(texts) {
		t.Fatalf("%d answers to %d texts, %v", len(answers), len(texts), err)
	}
	for i, text := range texts {
		n, gsm := Segments(text)
		if want, name := int(answers[i][0].(float64)), answers[i][1].(string); n != want || gsm != (name == "GSM-7") { //nolint:forcetypeassert // what the script writes
			t.Errorf("%d segments, GSM-7 %v; the calculator says %d, %s: %q", n, gsm, want, name, text)
		}
	}
	t.Logf("%d texts", len(texts))
}
