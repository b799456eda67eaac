package main

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger writes JSON for machines, one object a line, times in UTC; or lines for people.
func newLogger(out io.Writer, set settings) *zap.Logger {
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey = "time"
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	cfg.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(cfg)
	if set.logFormat == "console" {
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05")
		cfg.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(cfg)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(out)), set.logLevel), zap.WithClock(utc{zapcore.DefaultClock}))
}

// utc makes the log independent of TZ.
type utc struct{ zapcore.Clock }

// Now implements zapcore.Clock.
func (c utc) Now() time.Time { return c.Clock.Now().UTC() }
