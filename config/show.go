package config

import (
	"reflect"
	"time"

	"gopkg.in/yaml.v3"

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
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: name}
		var value yaml.Node
		switch f := v.Field(i).Interface().(type) {
		case time.Duration:
			_ = value.Encode(f.String())
		case secret.String:
			_ = value.Encode(f.String())
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
