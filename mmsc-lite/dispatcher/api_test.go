package dispatcher_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAPI(t *testing.T) {
	n := start(t, newPhone(), setup{})
	api := n.API()
	const entry = `{name: quiz, match: {codes: ["7000"], keywords: [quiz]}, provider: {url: "http://quiz.example.net/", token: geheim}}`
	for _, step := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"empty list", "GET", "", "", 200, "[]"},
		{"add", "POST", "", entry, 200, `["quiz"]`},
		{"add again", "POST", "", entry, 409, "there is a service of this name"},
		{"add what can't work", "POST", "", strings.ReplaceAll(strings.Replace(entry, "quiz,", "other,", 1), "http:", "gopher:"), 422, "provider.url"},
		{"add what overlaps", "POST", "", strings.Replace(entry, "quiz,", "other,", 1), 422, "service quiz takes the same messages"},
		{"add nonsense", "POST", "", "{", 400, "error"},
		{"list", "GET", "", "", 200, `"match":"code 7000, keyword quiz"`},
		{"show", "GET", "/quiz", "", 200, "quiz.example.net"},
		{"show what is not there", "GET", "/none", "", 404, "no such service"},
		{"edit", "PUT", "/quiz", strings.Replace(entry, "quiz,", "quiz, priority: 7,", 1), 200, "quiz"},
		{"edit under another name", "PUT", "/other", entry, 400, "keeps its name"},
		{"test", "POST", "/-/test", `{"from":"+46701234567","code":"7000","text":"Quiz!"}`, 200, `"why":"code 7000, keyword \"quiz\" in the text"`},
		{"test of another word", "POST", "/-/test", `{"from":"+46701234567","code":"7000","text":"no"}`, 200, "but no keyword"},
		{"dead letters", "GET", "/-/dead", "", 200, "[]"},
		{"replay", "POST", "/quiz/replay", "", 200, `"replayed":0`},
		{"remove", "DELETE", "/quiz", "", 200, "{}"},
		{"remove again", "DELETE", "/quiz", "", 404, "no such service"},
	} {
		t.Run(step.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			api.ServeHTTP(rec, httptest.NewRequest(step.method, "/api/v1/services"+step.path, strings.NewReader(step.body)))
			body := rec.Body.String()
			if rec.Code != step.status || !strings.Contains(body, step.want) {
				t.Errorf("%d %s; want %d with %s", rec.Code, body, step.status, step.want)
			}
			if strings.Contains(body, "geheim") {
				t.Error("a secret is shown")
			}
			if rec.Code != http.StatusOK {
				var p struct{ Error string }
				if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || p.Error == "" {
					t.Errorf("no reason: %v", err)
				}
			}
		})
	}
}
