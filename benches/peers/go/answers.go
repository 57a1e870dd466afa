// What every peer in Go shares: its answers.
package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strconv"
)

var (
	kibibyte = bytes.Repeat([]byte("x"), 1<<10)
	mebibyte = bytes.Repeat([]byte("x"), 1<<20)
	touched  [][]byte
)

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", fixed([]byte("WORLD!")))
	mux.HandleFunc("/1k", fixed(kibibyte))
	mux.HandleFunc("/1m", fixed(mebibyte))
	mux.HandleFunc("/pid", fixed([]byte(strconv.Itoa(os.Getpid()))))
	mux.HandleFunc("/touch", touch)
	return mux
}

func fixed(body []byte) http.HandlerFunc {
	length := []string{strconv.Itoa(len(body))}
	return func(w http.ResponseWriter, _ *http.Request) {
		// Else net/http sends more than 2 KiB in chunks, as nobody else here does.
		w.Header()["Content-Length"] = length
		w.Write(body)
	}
}

func touch(w http.ResponseWriter, r *http.Request) {
	mib, _ := strconv.Atoi(r.URL.Query().Get("mib"))
	memory := make([]byte, mib<<20)
	for at := 0; at < len(memory); at += 4096 {
		memory[at] = 1
	}
	touched = append(touched, memory)
	fmt.Fprintf(w, "touched %d", mib)
}
