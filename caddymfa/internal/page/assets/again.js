// Posts the form on as soon as it is there; without scripts its button does. A field
// of the form may be named submit, so that the form's own method cannot be called.
HTMLFormElement.prototype.submit.call(document.getElementById('again'));
