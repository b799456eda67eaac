package sandbox

import (
	"sync"
	"time"
)

// settings are the values that may change while requests are under way.
type settings struct {
	mu             sync.Mutex
	offset         time.Duration
	tokenLife      time.Duration
	credentialLife time.Duration
	latency        time.Duration
}

type settingValues struct{ offset, tokenLife, credentialLife, latency time.Duration }

func (s *settings) values() settingValues {
	s.mu.Lock()
	defer s.mu.Unlock()
	return settingValues{s.offset, s.tokenLife, s.credentialLife, s.latency}
}

func (s *settings) set(field *time.Duration, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*field = d
}

// SetTokenLife changes the life of the tokens issued from now on. Not positive: tokens are born expired.
func (s *Sandbox) SetTokenLife(d time.Duration) { s.settings.set(&s.settings.tokenLife, d) }

// SetCredentialLife changes the life of the task credentials issued from now on; those already given out keep theirs.
func (s *Sandbox) SetCredentialLife(d time.Duration) {
	s.settings.set(&s.settings.credentialLife, d)
}

// SetLatency changes what is added before each AWS API answer.
func (s *Sandbox) SetLatency(d time.Duration) { s.settings.set(&s.settings.latency, max(d, 0)) }

// SetClockOffset changes the server's clock minus the local one. What was issued before keeps its expiry.
func (s *Sandbox) SetClockOffset(d time.Duration) { s.settings.set(&s.settings.offset, d) }

// now is the server's clock. Without the monotonic reading, since it is compared with what a peer's clock says.
func (s *Sandbox) now() time.Time {
	return time.Now().Add(s.settings.values().offset).Round(0).UTC()
}
