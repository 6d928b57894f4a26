// Computes the health of Kubernetes objects as Argo CD and Flux do, with their interpreters.
//
// Standard input is a stream of JSON: {"lua": script, "object": …} is answered with Argo CD's health,
// {"cel": healthCheckExprs, "object": …} with Flux's status, and {"helmRelease": …} with Valid or Invalid.
// Each answer is a line of JSON: {"status", "message"}.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	helm "github.com/fluxcd/helm-controller/api/v2"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

type question struct {
	Lua         string                            `json:"lua"`
	CEL         *kustomize.HealthCheckExpressions `json:"cel"`
	HelmRelease json.RawMessage                   `json:"helmRelease"`
	Object      json.RawMessage                   `json:"object"`
}

type answer struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := answerAll(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gitops:", err)
		os.Exit(1)
	}
}

func answerAll(in io.Reader, out io.Writer) error {
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var next question
		if err := decoder.Decode(&next); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		result, err := next.answer()
		if err != nil {
			return err
		}
		if err := encoder.Encode(result); err != nil {
			return err
		}
	}
}

func (q question) answer() (answer, error) {
	if q.HelmRelease != nil {
		return checkHelmRelease(q.HelmRelease), nil
	}
	// The decoder of unstructured makes int64 of numbers, as the interpreters expect.
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(q.Object); err != nil {
		return answer{}, err
	}
	if q.CEL != nil {
		return fluxStatus(*q.CEL, object)
	}
	return argoHealth(q.Lua, object)
}

func fluxStatus(expressions kustomize.HealthCheckExpressions, object *unstructured.Unstructured) (answer, error) {
	evaluator, err := cel.NewStatusEvaluator(&expressions)
	if err != nil {
		return answer{}, err
	}
	result, err := evaluator.Evaluate(context.Background(), object)
	if err != nil {
		return answer{}, err
	}
	return answer{result.Status.String(), result.Message}, nil
}

// Argo CD opens only these libraries (not string and math) and its own os library, which the scripts here do not need.
// It stops a script after a second.
func argoHealth(script string, object *unstructured.Unstructured) (answer, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return answer{}, err
		}
	}
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	state.SetContext(limited)
	state.SetGlobal("obj", luajson.DecodeValue(state, floats(object.Object)))
	if err := state.DoString(script); err != nil {
		return answer{}, err
	}
	encoded, err := luajson.Encode(state.Get(-1))
	if err != nil {
		return answer{}, err
	}
	var health struct{ Status, Message string }
	if err := json.Unmarshal(encoded, &health); err != nil {
		return answer{}, fmt.Errorf("a table with status and message is expected, not %s: %w", encoded, err)
	}
	return answer{health.Status, health.Message}, nil
}

// Lua has one number type.
func floats(value any) any {
	switch v := value.(type) {
	case int64:
		return float64(v)
	case []any:
		converted := make([]any, len(v))
		for i, each := range v {
			converted[i] = floats(each)
		}
		return converted
	case map[string]any:
		converted := make(map[string]any, len(v))
		for name, each := range v {
			converted[name] = floats(each)
		}
		return converted
	}
	return value
}

func checkHelmRelease(raw []byte) answer {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	var release helm.HelmRelease
	if err := decoder.Decode(&release); err != nil {
		return answer{"Invalid", err.Error()}
	}
	if release.APIVersion != helm.GroupVersion.String() || release.Kind != helm.HelmReleaseKind {
		return answer{"Invalid", "not a HelmRelease of " + helm.GroupVersion.String()}
	}
	return answer{Status: "Valid"}
}
