// Fills in the code of a text that is bound to this site (WebOTP). The page
// works the same without it.
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
