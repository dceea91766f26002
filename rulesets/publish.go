package rulesets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"vedette/internal/kafka"
	published "vedette/internal/rulesets"
	"vedette/internal/secret"
	"vedette/ruleset"
	"vedette/schemas"
)

// sourceFiles lists the files of a ruleset as they are published.
func sourceFiles(s ruleset.Source) []published.File {
	var out []published.File
	add := func(kind schemas.FileKind, files []ruleset.File) {
		for _, f := range files {
			out = append(out, published.File{Kind: kind, Name: f.Name, Path: f.Path, Data: f.Data})
		}
	}
	add(schemas.FileDecoders, s.Decoders)
	add(schemas.FileRules, s.Rules)
	add(schemas.FileList, s.Lists)
	if s.GeoIP != nil {
		add(schemas.FileGeoIP, []ruleset.File{s.GeoIP.File})
	}
	return out
}

// compileFiles compiles a published version.
func compileFiles(version string, files []published.File) (*Ruleset, error) {
	var s ruleset.Source
	for _, f := range files {
		file := ruleset.File{Name: f.Name, Path: f.Path, Data: f.Data}
		switch f.Kind {
		case schemas.FileDecoders:
			s.Decoders = append(s.Decoders, file)
		case schemas.FileRules:
			s.Rules = append(s.Rules, file)
		case schemas.FileList:
			s.Lists = append(s.Lists, file)
		case schemas.FileGeoIP:
			s.GeoIP = ruleset.NewGeoIP(file)
		default:
			return nil, fmt.Errorf("%s is a %s, which this program does not know", f.Name, f.Kind)
		}
	}
	if got := s.Version(); got != version {
		return nil, fmt.Errorf("the files are those of version %s", got)
	}
	return compileSource(s)
}

// Published reports whether the topics name a ruleset to run. It is asked when the
// configured one is refused, before anything listens.
func Published(ctx context.Context, cluster *kafka.Cluster, box *secret.Box, node string) (bool, error) {
	found := false
	err := WithStore(ctx, cluster, box, node, slog.New(slog.DiscardHandler), func(_ context.Context, s *published.Store) error {
		_, found, _ = s.Current()
		return nil
	})
	return found, err
}

// WithStore calls fn once the published versions are known.
func WithStore(ctx context.Context, cluster *kafka.Cluster, box *secret.Box, node string, log *slog.Logger, fn func(context.Context, *published.Store) error) error {
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	s, err := published.Open(cluster, box, node, log, nil)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	running, end := context.WithCancel(ctx)
	go func() { done <- s.Run(running) }()
	defer func() { end(); <-done }()
	select {
	case <-s.Ready():
		return fn(ctx, s)
	case <-ctx.Done():
		return errors.New("the brokers do not answer")
	}
}

// Publish compiles the named rulesets (see Load) and makes them the current
// version, which it returns. A ruleset that does not compile changes nothing.
func Publish(ctx context.Context, s *published.Store, names []string, geoipFile string) (*Ruleset, error) {
	r, err := Load(names, geoipFile)
	if err != nil {
		return nil, err
	}
	return r, s.Publish(ctx, r.Version, sourceFiles(r.Source), schemas.OriginCommand)
}

// Running compiles the version that workers are to run.
func Running(ctx context.Context, s *published.Store) (*Ruleset, error) {
	current, ok, _ := s.Current()
	if !ok {
		return nil, errors.New("no ruleset was published yet")
	}
	files, err := s.Files(ctx, current.Version)
	if err != nil {
		return nil, err
	}
	return compileFiles(current.Version, files)
}

// Promote makes a published version the current one, if it compiles here.
func Promote(ctx context.Context, s *published.Store, version string) error {
	files, err := s.Files(ctx, version)
	if err != nil {
		return err
	}
	if _, err := compileFiles(version, files); err != nil {
		return err
	}
	return s.Promote(ctx, version, schemas.OriginCommand)
}
