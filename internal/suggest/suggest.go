// Package suggest finds the word that somebody meant. It owns nothing but the comparison, and refuses to know what the words
// are.
package suggest

// Nearest returns the known word that is at most this many letters away from the one given, and nearer than the others;
// empty where there is none. The cost is the product of the words' lengths: a word much longer than all known ones is no typo,
// and is not compared.
func Nearest(word string, known []string, most int) string {
	best, least := "", most+1
	for _, k := range known {
		if len(word) > 2*len(k) {
			continue
		}
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to add, drop or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
