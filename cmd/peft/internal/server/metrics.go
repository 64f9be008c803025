package server

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gopeft/peft"
)

// metrics are what the server counts. What vLLM measures too has vLLM's name, so that its dashboards and autoscalers work; the
// rest begins with peft_.
type metrics struct {
	reg             *prometheus.Registry
	requests        *prometheus.CounterVec
	seconds         *prometheus.HistogramVec
	firstToken      prometheus.Histogram
	answer          prometheus.Histogram
	prompt, written prometheus.Counter
	finished        *prometheus.CounterVec
}

// seconds of requests go from what a cached answer takes to the longest answers.
var secondsBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

func (s *Server) newMetrics() *metrics {
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name, Help: help, Buckets: secondsBuckets}
	}
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	m := &metrics{
		reg:        prometheus.NewRegistry(),
		requests:   prometheus.NewCounterVec(counter("peft_http_requests_total", "Requests by route and status."), []string{"route", "code"}),
		seconds:    prometheus.NewHistogramVec(histogram("peft_http_request_seconds", "Seconds from a request to the end of its response."), []string{"route"}),
		firstToken: prometheus.NewHistogram(histogram("vllm:time_to_first_token_seconds", "Seconds from a request, waiting included, to its first token.")),
		answer:     prometheus.NewHistogram(histogram("vllm:e2e_request_latency_seconds", "Seconds from a request, waiting included, to its last token.")),
		prompt:     prometheus.NewCounter(counter("vllm:prompt_tokens_total", "Tokens of prompts.")),
		written:    prometheus.NewCounter(counter("vllm:generation_tokens_total", "Tokens written.")),
		finished:   prometheus.NewCounterVec(counter("vllm:request_success_total", "Generations by how they ended."), []string{"finished_reason"}),
	}
	for _, reason := range []string{"stop", "length", "abort", "error"} {
		m.finished.WithLabelValues(reason)
	}
	m.reg.MustRegister(m.requests, m.seconds, m.firstToken, m.answer, m.prompt, m.written, m.finished, &gauges{s},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (s *Server) routeMetrics() {
	h := promhttp.HandlerFor(s.metrics.reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
	s.handle("GET /metrics", monitor, h.ServeHTTP)
}

// observe counts a request that is over.
func (m *metrics) observe(route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// gauges are read when somebody asks.
type gauges struct{ s *Server }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	runningDesc  = desc("vllm:num_requests_running", "Sequences that are computed.")
	waitingDesc  = desc("vllm:num_requests_waiting", "Sequences that wait for their turn.")
	loraInfoDesc = desc("vllm:lora_requests_info", "Seconds since 1970, of now; the labels list the sets of running sequences.", "running_lora_adapters", "waiting_lora_adapters", "max_lora")
	perSetDesc   = desc("peft_set_sequences_running", "Sequences that are computed with a set on.", "set")
	cacheDesc    = desc("peft_cache_tokens", "Tokens in caches, of running sequences and kept of finished ones.")
	reusedDesc   = desc("peft_prompt_tokens_reused_total", "Tokens of prompts that were not read again.")
	setsDesc     = desc("peft_sets", "Expert sets in the registry.")
	jobsDesc     = desc("peft_jobs", "Jobs by state.", "state")
	infoDesc     = desc("peft_info", "1; the labels say what runs.", "version", "base")
	drainingDesc = desc("peft_draining", "1 while the server goes down.")
)

// Describe implements prometheus.Collector.
func (g *gauges) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{runningDesc, waitingDesc, loraInfoDesc, perSetDesc, cacheDesc, reusedDesc, setsDesc, jobsDesc, infoDesc, drainingDesc} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	st := g.s.batch.Stats()
	gauge(runningDesc, float64(st.Running))
	gauge(waitingDesc, float64(st.Waiting))
	gauge(cacheDesc, float64(st.CacheTokens))
	c <- prometheus.MustNewConstMetric(reusedDesc, prometheus.CounterValue, float64(st.Reused))
	names := make([]string, 0, len(st.Sets))
	for set, n := range st.Sets {
		gauge(perSetDesc, float64(n), set)
		names = append(names, set)
	}
	slices.Sort(names)
	gauge(loraInfoDesc, float64(time.Now().Unix()), strings.Join(names, ","), "", "0")
	if b, err := g.s.e.Base(); err == nil {
		gauge(infoDesc, 1, peft.Version(), b.Name)
	}
	if sets, err := g.s.e.List(); err != nil {
		c <- prometheus.NewInvalidMetric(setsDesc, err)
	} else {
		gauge(setsDesc, float64(len(sets)))
	}
	for state, n := range g.s.jobs.states() {
		gauge(jobsDesc, float64(n), state)
	}
	going := 0.0
	if g.s.draining.Load() {
		going = 1
	}
	gauge(drainingDesc, going)
}
