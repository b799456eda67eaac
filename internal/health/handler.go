package health

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"ecr-refresher/internal/refresh"
)

// Source gives the state of things as it is now.
type Source interface {
	View() refresh.View  // looks at the files, which may take a while
	Late() time.Duration // how late the loop is for its next turn; never blocks
}

// Routes adds /livez, /readyz, /healthz and /status to a mux.
func Routes(mux *http.ServeMux, src Source, about About) {
	answer := func(judge func(refresh.View) Verdict) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { judge(src.View()).write(w) }
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		Live(refresh.View{Late: src.Late()}).write(w) // no file is looked at: one that hangs says nothing of the loop
	})
	mux.HandleFunc("GET /healthz", answer(Healthy))
	mux.HandleFunc("GET /readyz", answer(Ready))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(StatusOf(src.View(), about))
	})
}

// write answers a probe: 200 and "ok", or 503 and a reason a line.
func (v Verdict) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if v.OK {
		_, _ = io.WriteString(w, "ok\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, strings.Join(v.Reasons, "\n")+"\n")
}
