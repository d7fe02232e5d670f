package sms

import (
	"slices"
	"strings"
)

// The GSM 7-bit default alphabet and its extension table, whose characters take
// two septets (3GPP TS 23.038 6.2.1).
const (
	gsmBasic     = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtension = "\f^{}\\[~]|€"
)

// Segments is how many messages a text is sent, and billed, as, and whether it
// is in GSM-7. One segment holds 160 septets or 70 UTF-16 units; each of several
// holds 153 or 67, the rest being the header that joins them. A character is
// never split between two segments.
func Segments(text string) (n int, gsm bool) {
	single, each := 160, 153
	sizes, gsm := septets(text)
	if !gsm {
		single, each = 70, 67
		sizes = utf16Units(text)
	}
	total := 0
	for _, size := range sizes {
		total += size
	}
	switch {
	case total == 0:
		return 0, gsm
	case total <= single:
		return 1, gsm
	}
	n, used := 1, 0
	for _, size := range sizes {
		if used+size > each {
			n, used = n+1, 0
		}
		used += size
	}
	return n, gsm
}

func septets(text string) (sizes []int, ok bool) {
	for _, c := range text {
		switch {
		case strings.ContainsRune(gsmBasic, c):
			sizes = append(sizes, 1)
		case strings.ContainsRune(gsmExtension, c):
			sizes = append(sizes, 2)
		default:
			return nil, false
		}
	}
	return sizes, true
}

func utf16Units(text string) (sizes []int) {
	for _, c := range text {
		size := 1
		if c > 0xFFFF { // a surrogate pair
			size = 2
		}
		sizes = append(sizes, size)
	}
	return sizes
}

// notGSM are the characters of a text that are not in GSM-7, each once.
func notGSM(text string) []string {
	var out []string
	for _, c := range text {
		if s := string(c); !strings.ContainsRune(gsmBasic+gsmExtension, c) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
