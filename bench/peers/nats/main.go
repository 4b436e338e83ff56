// Command nats publishes to JetStream: `nats-driver PORT PUBLISHERS SUBJECTS SECONDS BYTES` prints one line of JSON.
// Each publisher waits for the acknowledgement of a message before it sends the next.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	var numbers [5]int
	for at := range numbers {
		number, err := strconv.Atoi(os.Args[at+1])
		if err != nil {
			return err
		}
		numbers[at] = number
	}
	port, publishers, subjects, seconds, size := numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	first, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer first.Close()
	admin, err := first.JetStream()
	if err != nil {
		return err
	}
	stream := &nats.StreamConfig{Name: "bench", Subjects: []string{"bench.*"}, Storage: nats.FileStorage}
	if _, err = admin.AddStream(stream); err != nil {
		return err
	}
	body := make([]byte, size)
	latencies := make([][]time.Duration, publishers)
	failures := make([]error, publishers)
	var all sync.WaitGroup
	began := time.Now()
	end := began.Add(time.Duration(seconds) * time.Second)
	for which := range publishers {
		all.Add(1)
		go func() {
			defer all.Done()
			latencies[which], failures[which] = publish(url, fmt.Sprintf("bench.%d", which%subjects), body, end)
		}()
	}
	all.Wait()
	took := time.Since(began)
	var merged []time.Duration
	for which := range publishers {
		if failures[which] != nil {
			return failures[which]
		}
		merged = append(merged, latencies[which]...)
	}
	info, err := admin.StreamInfo("bench")
	if err != nil {
		return err
	}
	if info.State.Msgs != uint64(len(merged)) {
		return fmt.Errorf("%d messages were acknowledged, %d are there", len(merged), info.State.Msgs)
	}
	sort.Slice(merged, func(a, b int) bool { return merged[a] < merged[b] })
	at := func(share float64) float64 {
		return float64(merged[int(share*float64(len(merged)-1))].Microseconds()) / 1000
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"answers": float64(len(merged)),
		"rate":    float64(len(merged)) / took.Seconds(),
		"p50_ms":  at(0.5),
		"p99_ms":  at(0.99),
	})
}

func publish(url, subject string, body []byte, end time.Time) ([]time.Duration, error) {
	connection, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	stream, err := connection.JetStream()
	if err != nil {
		return nil, err
	}
	var latencies []time.Duration
	for time.Now().Before(end) {
		began := time.Now()
		if _, err := stream.Publish(subject, body); err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(began))
	}
	return latencies, nil
}
