package intake

import "strings"

// Named finds a field by a name whose case does not matter, in the query or in
// the body: a form's field, or a key of a JSON body's outermost object. What is
// there twice is Ambiguous, and so is a JSON object or array; null is Absent.
// It is for requests that only we read: see Lookup for those that go on.
func (f *Form) Named(source Source, name string) (value string, state State) {
	for _, x := range f.fields {
		if source != Any && x.source != source || !strings.EqualFold(x.name, name) {
			continue
		}
		if state != Absent || x.unread {
			return "", Ambiguous
		}
		value, state = x.value, Exact
	}
	if source == Query || f.Kind != JSONBody {
		return value, state
	}
	object, _ := f.json.(map[string]any)
	for key, v := range object {
		if v == nil || !strings.EqualFold(key, name) {
			continue
		}
		text, ok := Text(v)
		if !ok || state != Absent {
			return "", Ambiguous
		}
		value, state = text, Exact
	}
	return value, state
}

// Object reports whether a JSON body is one object, as bodies with names are.
func (f *Form) Object() bool {
	_, ok := f.json.(map[string]any)
	return ok
}
