// Fills in the code of a text that is bound to this site (WebOTP), and says when
// the text has arrived or cannot. The page works the same without it.
(() => {
  const form = document.getElementById('code');
  if (!form || !('OTPCredential' in window)) return;
  const stop = new AbortController();
  form.addEventListener('submit', () => stop.abort());
  setTimeout(() => stop.abort(), 120000);
  navigator.credentials.get({ otp: { transport: ['sms'] }, signal: stop.signal })
    .then((otp) => { form.elements.otp.value = otp.code; form.requestSubmit(); })
    .catch(() => {});
})();
(() => {
  const line = document.getElementById('delivery');
  if (!line || !line.dataset.status || line.textContent) return;
  const waits = [2, 4, 8, 16, 28]; // seconds; less than a minute together
  const ask = async () => {
    try {
      const answer = await fetch(line.dataset.status, { headers: { Accept: 'application/json' } });
      const { level, text } = await answer.json();
      if (level !== 'pending' || !text) return;
      if (text.message) { line.textContent = text.message; return; }
    } catch { /* perhaps the next time */ }
    later();
  };
  const later = () => { if (waits.length) setTimeout(ask, waits.shift() * 1000); };
  later();
})();
