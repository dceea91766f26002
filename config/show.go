package config

import (
	"reflect"
	"time"

	"gopkg.in/yaml.v3"

	"vedette/forward"
	"vedette/internal/secret"
)

// Show returns the configuration as YAML with every key, secrets redacted.
func Show(c Config) ([]byte, error) {
	return yaml.Marshal(tree(reflect.ValueOf(c)))
}

func tree(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("mapstructure")
		if name == "-" {
			continue
		}
		if name == squash {
			n.Content = append(n.Content, tree(v.Field(i)).Content...)
			continue
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: name}
		var value yaml.Node
		switch f := v.Field(i).Interface().(type) {
		case time.Duration:
			_ = value.Encode(f.String())
		case secret.String:
			_ = value.Encode(f.String())
		case []forward.Entry:
			value = *entries(f)
		default:
			if v.Field(i).Kind() == reflect.Struct {
				value = *tree(v.Field(i))
			} else {
				_ = value.Encode(f)
			}
		}
		n.Content = append(n.Content, key, &value)
	}
	return n
}

// entries shows destinations with every setting of their types.
func entries(list []forward.Entry) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, e := range list {
		one := tree(reflect.ValueOf(common{Name: e.Name, Type: e.Type, Config: e.Route}))
		one.Content = append(one.Content, tree(reflect.ValueOf(e.Settings).Elem()).Content...)
		n.Content = append(n.Content, one)
	}
	if len(list) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}
