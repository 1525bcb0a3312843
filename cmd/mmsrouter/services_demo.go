package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	dispatch "github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
)

func servicesDemo() *cobra.Command {
	var f clientFlags
	var listen, code string
	var enter bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Serve a small picture quiz over XML, and enter it into the catalogue",
		Long: `demo is an example of a provider: a quiz about flags, one picture a turn, which it serves until it is interrupted. It enters
itself into the catalogue as service "quiz" unless --enter=false. Its address has to be one that outgoing requests may
reach.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			entry := quizEntry(code, "http://"+l.Addr().String()+"/quiz")
			if !enter {
				fmt.Fprint(out, entry)
				return serveQuiz(c.Context(), l)
			}
			client, err := f.client()
			if err == nil {
				err = client.Do(c.Context(), http.MethodPut, servicesPath, "application/yaml", []byte(entry), nil)
			}
			if err != nil {
				return errors.Join(err, l.Close())
			}
			fmt.Fprintf(out, "The quiz is service \"quiz\". Play it with: mmsrouter send --to %s --text quiz\n", code)
			return serveQuiz(c.Context(), l)
		},
	}
	f.add(c)
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8095", "where the provider listens")
	c.Flags().StringVar(&code, "code", "7000", "the service code")
	c.Flags().BoolVar(&enter, "enter", true, "enter the service into the catalogue; false: print its entry")
	return c
}

func quizEntry(code, url string) string {
	return fmt.Sprintf(`services:
  - name: quiz
    match: {codes: [%q]}
    provider: {url: %q, format: xml}
    session: {idle: 10m, stop_words: [stop, stopp, slut], stop_text: "Thank you for playing."}
    reply: {fallback: "The quiz is closed just now."}
`, code, url)
}

// serveQuiz serves until the context ends.
func serveQuiz(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: http.HandlerFunc(quiz), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// Who has asked gets the answer. A connection that nothing has come on yet counts as busy for five seconds: it is cut sooner.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := srv.Shutdown(within)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	if e := <-done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// maxAsk bounds a request to the quiz.
const maxAsk = 10 << 20

// quiz answers a turn. It keeps nothing itself: the question that was asked and the points so far travel as the session's
// state, "QUESTION POINTS".
func quiz(w http.ResponseWriter, r *http.Request) {
	var call dispatch.Call
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAsk))
	if err == nil {
		err = xml.Unmarshal(body, &call)
	}
	if err != nil || call.Version != dispatch.FormatVersion {
		http.Error(w, "want a service-request of version "+strconv.Itoa(dispatch.FormatVersion), http.StatusBadRequest)
		return
	}
	if call.Kind != "turn" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer, err := quizTurn(&call)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text, err := xml.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	_, _ = w.Write(append([]byte(xml.Header), text...)) // the router asks again if this did not reach it
}

// quizTurn looks at the answer to the last question and asks the next one.
func quizTurn(call *dispatch.Call) (*dispatch.Response, error) {
	asked, points, said := -1, 0, ""
	if call.Session == nil {
		return nil, errors.New("a turn without a session")
	}
	if state, err := base64.StdEncoding.DecodeString(call.Session.Text); err != nil {
		return nil, errors.New("the state is no base64")
	} else if len(state) > 0 {
		if _, err := fmt.Sscanf(string(state), "%d %d", &asked, &points); err != nil || asked < 0 || asked >= len(flags) {
			return nil, errors.New("the state is not of this quiz")
		}
	}
	for _, p := range call.Parts {
		if said == "" && p.Encoding == "text" {
			said = strings.ToUpper(strings.TrimSpace(p.Data))
		}
	}
	text := "Welcome to the quiz!"
	if asked >= 0 {
		f := flags[asked]
		if said == string(rune('A'+f.right)) || said == strings.ToUpper(f.names[f.right]) {
			points++
			text = "Right!"
		} else {
			text = "No, that was " + f.names[f.right] + "."
		}
	}
	r := &dispatch.Response{Version: dispatch.FormatVersion, Subject: "Flag quiz"}
	if asked == len(flags)-1 {
		r.End, r.Text = true, fmt.Sprintf("%s You have %d of %d points. Write again to play again.", text, points, len(flags))
		return r, nil
	}
	f := flags[asked+1]
	picture, err := f.picture()
	if err != nil {
		return nil, err
	}
	text += fmt.Sprintf("\nQuestion %d of %d: whose flag is this?\n", asked+2, len(flags))
	for i, n := range f.names {
		text += fmt.Sprintf("%c %s\n", 'A'+i, n)
	}
	r.State = base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d %d", asked+1, points))
	r.Pages = []dispatch.WirePage{{Duration: 10, Text: text,
		Parts: []dispatch.WirePart{{Type: "image/png", Name: "flag.png", Data: base64.StdEncoding.EncodeToString(picture)}}}}
	return r, nil
}

// flag is a question of the quiz: rectangles in the order in which they are painted, in hundredths.
type flag struct {
	names  []string
	right  int
	ground color.RGBA
	paint  []patch
}

type patch struct {
	x0, y0, x1, y1 int
	colour         color.RGBA
}

// The colours as the countries have them, near enough for a phone.
var (
	white  = color.RGBA{255, 255, 255, 255}
	blue   = color.RGBA{0, 82, 155, 255}
	yellow = color.RGBA{255, 205, 0, 255}
	red    = color.RGBA{200, 16, 46, 255}
)

var flags = []flag{
	{[]string{"Finland", "Sweden", "Ukraine"}, 1, blue, []patch{{31, 0, 44, 100, yellow}, {0, 40, 100, 60, yellow}}},
	{[]string{"Denmark", "Switzerland", "Austria"}, 0, red, []patch{{32, 0, 43, 100, white}, {0, 43, 100, 57, white}}},
	{[]string{"Estonia", "Greece", "Finland"}, 2, white, []patch{{28, 0, 44, 100, blue}, {0, 36, 100, 64, blue}}},
}

const flagWidth, flagHeight = 320, 200

func (f *flag) picture() ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, flagWidth, flagHeight))
	fill := func(r image.Rectangle, c color.RGBA) { draw.Draw(img, r, image.NewUniform(c), image.Point{}, draw.Src) }
	fill(img.Bounds(), f.ground)
	for _, p := range f.paint {
		fill(image.Rect(p.x0*flagWidth/100, p.y0*flagHeight/100, p.x1*flagWidth/100, p.y1*flagHeight/100), p.colour)
	}
	var b bytes.Buffer
	err := png.Encode(&b, img)
	return b.Bytes(), err
}
