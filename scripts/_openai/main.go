// Command _openai checks a running peft serve with OpenAI's own client for Go: it takes the address and a set. It is a module of
// its own, so that the client is no dependency of peft.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: _openai URL SET")
	}
	if err := check(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
	fmt.Println("openai-go is content")
}

func check(ctx context.Context, url, set string) error {
	c := openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("none"), option.WithMaxRetries(0))
	models, err := c.Models.List(ctx)
	if err != nil {
		return err
	}
	base := models.Data[0].ID
	if m, err := c.Models.Get(ctx, set); err != nil || m.ID != set {
		return fmt.Errorf("model %s: %v, %w", set, m, err)
	}
	ask := openai.CompletionNewParams{Model: openai.CompletionNewParamsModel(set), Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("To descale")},
		MaxTokens: openai.Int(12), Temperature: openai.Float(0), Logprobs: openai.Int(2)}
	whole, err := c.Completions.New(ctx, ask)
	if err != nil {
		return err
	}
	if p := whole.Choices[0].Logprobs; len(p.Tokens) == 0 || int64(len(p.Tokens)) != whole.Usage.CompletionTokens || len(p.TopLogprobs[0]) != 2 {
		return fmt.Errorf("log-probabilities: %s", whole.RawJSON())
	}
	text, stream := "", c.Completions.NewStreaming(ctx, ask)
	for stream.Next() {
		text += stream.Current().Choices[0].Text
	}
	if err := stream.Err(); err != nil || text != whole.Choices[0].Text {
		return fmt.Errorf("streamed %q, whole %q: %w", text, whole.Choices[0].Text, err)
	}
	ask.N, ask.Temperature = openai.Int(3), openai.Float(1)
	if several, err := c.Completions.New(ctx, ask); err != nil || len(several.Choices) != 3 {
		return fmt.Errorf("3 choices: %v: %w", several, err)
	}
	e, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: base, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"The lake is calm.", "A goroutine is started."}}})
	if err != nil || len(e.Data) != 2 {
		return fmt.Errorf("embeddings: %v: %w", e, err)
	}
	var square float64
	for _, x := range e.Data[0].Embedding {
		square += x * x
	}
	if math.Abs(square-1) > 1e-4 {
		return fmt.Errorf("an embedding of squared length %v", square)
	}
	ask.Temperature = openai.Float(3)
	var refused *openai.Error
	if _, err := c.Completions.New(ctx, ask); !errors.As(err, &refused) || refused.StatusCode != 400 || refused.Param != "temperature" {
		return fmt.Errorf("a temperature of 3: %w", err)
	}
	_, err = c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{Model: "nobody", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hello.")}})
	if !errors.As(err, &refused) || refused.StatusCode != 404 {
		return fmt.Errorf("an unknown model: %w", err)
	}
	return nil
}
