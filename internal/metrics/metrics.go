// Package metrics makes the metrics of one part of the program.
package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Set makes and registers metrics whose names begin with Prefix. A metric that is
// registered already is returned, so that a part which is made anew in one process
// goes on counting. A nil Registerer registers nothing.
type Set struct {
	Registerer prometheus.Registerer
	Prefix     string
}

// Counter makes a counter.
func (s Set) Counter(name, help string) prometheus.Counter {
	return Register(s.Registerer, prometheus.NewCounter(prometheus.CounterOpts{Name: s.Prefix + name, Help: help}))
}

// CounterVec makes counters that differ by labels.
func (s Set) CounterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return Register(s.Registerer, prometheus.NewCounterVec(prometheus.CounterOpts{Name: s.Prefix + name, Help: help}, labels))
}

// Gauge makes a gauge.
func (s Set) Gauge(name, help string) prometheus.Gauge {
	return Register(s.Registerer, prometheus.NewGauge(prometheus.GaugeOpts{Name: s.Prefix + name, Help: help}))
}

// GaugeVec makes gauges that differ by labels.
func (s Set) GaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return Register(s.Registerer, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: s.Prefix + name, Help: help}, labels))
}

// GaugeFunc makes a gauge that asks fn.
func (s Set) GaugeFunc(name, help string, fn func() float64) {
	Register(s.Registerer, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: s.Prefix + name, Help: help}, fn))
}

// CounterFunc makes a counter that asks fn.
func (s Set) CounterFunc(name, help string, fn func() float64) {
	Register(s.Registerer, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: s.Prefix + name, Help: help}, fn))
}

// Register registers a collector, or returns the registered one of that name. Two
// different collectors under one name are a programming error and panic.
func Register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if err == nil {
		return c
	}
	var are prometheus.AlreadyRegisteredError
	if errors.As(err, &are) {
		if old, ok := are.ExistingCollector.(C); ok {
			return old
		}
	}
	panic(err)
}
