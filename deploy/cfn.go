//go:build ignore

// Cfn prints a CloudFormation template as JSON with its short forms (!Ref, !Sub, !GetAtt and the like) written out, for a test
// to read: go run -modfile=tools/go.mod deploy/cfn.go FILE. It fails where the file is no YAML, has a key twice, or uses what
// CloudFormation does not know: aliases, merges, other tags. Like shape.go it is no package of the program.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

func main() {
	err := print(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func print(name string) error {
	doc, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(doc, &root); err != nil {
		return err
	}
	if err := yaml.Unmarshal(doc, &map[string]any{}); err != nil { // decoding finds a key that is there twice
		return err
	}
	v, err := written(root.Content[0])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}

// written is the value of a node, with a short form written out.
func written(n *yaml.Node) (any, error) {
	var v any
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].Tag == "!!merge" {
				return nil, fmt.Errorf("line %d: CloudFormation knows no merge", n.Line)
			}
			member, err := written(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[n.Content[i].Value] = member
		}
		v = m
	case yaml.SequenceNode:
		s := []any{}
		for _, c := range n.Content {
			item, err := written(c)
			if err != nil {
				return nil, err
			}
			s = append(s, item)
		}
		v = s
	case yaml.ScalarNode:
		if strings.HasPrefix(n.Tag, "!!") {
			if err := n.Decode(&v); err != nil {
				return nil, err
			}
		} else {
			v = n.Value
		}
	default:
		return nil, fmt.Errorf("line %d: CloudFormation knows no alias", n.Line)
	}
	switch {
	case strings.HasPrefix(n.Tag, "!!"):
		return v, nil
	case n.Tag == "!Ref":
		return map[string]any{"Ref": v}, nil
	case n.Tag == "!GetAtt":
		return map[string]any{"Fn::GetAtt": strings.Split(n.Value, ".")}, nil
	case n.Tag == "!Sub" || n.Tag == "!If" || n.Tag == "!Equals" || n.Tag == "!Not" || n.Tag == "!Join":
		return map[string]any{"Fn::" + n.Tag[1:]: v}, nil
	}
	return nil, fmt.Errorf("line %d: tag %s", n.Line, n.Tag)
}
