// Shows the code step inside a page that signs in by fetch or XMLHttpRequest,
// and gives the application's own answer to the call that asked for it. The
// page's own code knows nothing of this.
(() => {
  'use strict';
  if (window.caddymfaBridge) return;
  const base = document.currentScript?.dataset.mfa ?? '/mfa';
  const mark = 'X-Mfa';
  const fetchNow = window.fetch.bind(window);
  const NativeXHR = window.XMLHttpRequest;

  const post = (route, body) => fetchNow(`${base}/${route}`, {
    method: 'POST', credentials: 'same-origin', redirect: 'error',
    headers: { 'Content-Type': 'application/json', Accept: 'application/json' }, body: JSON.stringify(body),
  });
  const json = async (res) => { try { return await res.json(); } catch { return {}; } };

  // ---- the dialog -----------------------------------------------------------
  let texts;
  const words = async () => {
    texts ??= await json(await fetchNow(`${base}/bridge`, { credentials: 'same-origin', headers: { Accept: 'application/json' } }));
    return texts;
  };
  const element = (name, attributes = {}, ...children) => {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes)) if (v !== false) e.setAttribute(k, v === true ? '' : v);
    e.append(...children);
    return e;
  };

  // again stands for the answer where none was withheld, because the call was not
  // passed on yet (HTTP Basic): it is made once more.
  const again = Symbol('again');

  const problem = (t, reason) => t[`problem.${reason}`] ?? t['problem.other'];
  const ended = (e) => ['tries_used_up', 'locked', 'disabled', 'already_used', 'unknown_handle', 'anonymous'].includes(e.reason);
  const unsent = (t, challenge) => problem(t, challenge.text_unsent || 'gateway_unavailable');

  // ask shows the steps until there is an answer, or null when the person gives up.
  async function ask(challenge) {
    const t = await words();
    const two = challenge.SecondFactorAuthentication;
    const host = element('div');
    const root = host.attachShadow({ mode: 'open' });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(t.style ?? '');
    root.adoptedStyleSheets = [sheet];
    const dialog = element('dialog', { lang: t.lang, dir: t.dir, 'aria-labelledby': 'heading' });
    root.append(dialog);
    document.documentElement.append(host);
    // The page has keys and focus traps of its own.
    for (const name of ['keydown', 'keypress', 'keyup', 'focusin', 'focusout']) host.addEventListener(name, (e) => e.stopPropagation());
    const before = document.activeElement;

    try {
      return await new Promise((resolve) => {
        const done = (value) => { dialog.close(); resolve(value); };
        dialog.addEventListener('cancel', (e) => { e.preventDefault(); give(); });
        const give = async () => { try { await post('cancel', {}); } finally { done(null); } };

        const show = (heading, parts, first) => {
          dialog.replaceChildren(element('h1', { id: 'heading' }, heading), ...parts.filter(Boolean));
          if (!dialog.open) dialog.showModal();
          (first ?? dialog.querySelector('input, button'))?.focus();
        };
        const form = (label, hint, input, button, send) => {
          const error = element('p', { class: 'error', role: 'alert', id: 'error' });
          const submit = element('button', { type: 'submit' }, button);
          const f = element('form', { novalidate: true },
            element('label', { for: input.id }, label), element('p', { class: 'hint', id: 'hint' }, hint), error, input, submit);
          input.setAttribute('aria-describedby', 'hint error');
          f.addEventListener('submit', async (e) => {
            e.preventDefault();
            submit.disabled = true;
            try { await send(input.value, (text) => {
              error.textContent = text;
              input.setAttribute('aria-invalid', 'true');
              input.select();
            }); } catch { error.textContent = t['problem.other']; } finally { submit.disabled = false; }
          });
          return f;
        };
        const quit = () => {
          const b = element('button', { type: 'button', class: 'plain' }, t.cancel);
          b.addEventListener('click', give);
          return b;
        };
        const over = (e) => {
          const b = element('button', { type: 'button' }, t.retry);
          b.addEventListener('click', () => done(null));
          show(t[`title.${e.reason}`] ?? t['title.other'], [element('p', {}, t[`message.${e.reason}`] ?? t['message.other']), b], b);
        };

        const code = (sent) => {
          const input = element('input', { id: 'otp', name: 'otp', type: 'text', inputmode: 'numeric', autocomplete: 'one-time-code', dir: 'ltr', required: true });
          const notice = element('p', { role: 'status' });
          const resend = element('button', { type: 'button', class: 'plain' }, t.resend);
          resend.addEventListener('click', async () => {
            resend.disabled = true;
            try {
              const res = await post('resend', {});
              const e = await json(res);
              if (!res.ok && ended(e)) over(e);
              else notice.replaceChildren(...res.ok ? around('code.again') : [problem(t, e.reason)]);
            } catch { notice.textContent = t['problem.other']; } finally { resend.disabled = false; }
          });
          show(t['code.heading'], [
            element('p', {}, ...sent ? around('code.sent') : [unsent(t, challenge)]),
            form(t['code.label'], t['code.hint'], input, t['code.submit'], async (otp, wrong) => {
              const res = await post('verify', { otp, release: 'answer' });
              if (res.headers.get(mark) === 'released') { done(res); return; }
              if (res.ok) { done(again); return; }
              const e = await json(res);
              if (ended(e)) over(e); else wrong(problem(t, e.reason));
            }), notice, resend, quit()], input);
        };
        let number = two.OTPPhoneNo ?? '';
        const around = (key) => {
          const [before, after] = t[key].split('{ending}');
          return [before, element('bdi', { dir: 'ltr' }, number.slice(-2)), after];
        };
        const phone = () => {
          const input = element('input', { id: 'phone', name: 'phoneno2fa', type: 'tel', autocomplete: 'tel', dir: 'ltr', required: true });
          show(t['number.heading'], [element('p', {}, t['number.body']),
            form(t['number.label'], t['number.hint'], input, t['number.submit'], async (phoneno2fa, wrong) => {
              const res = await post('phone', { phoneno2fa });
              if (res.ok) { number = phoneno2fa.replace(/\D/g, ''); code(true); return; }
              const e = await json(res);
              if (ended(e)) over(e); else wrong(problem(t, e.reason));
            }), element('p', { class: 'hint' }, t['number.notice']), quit()], input);
        };
        const invitation = () => {
          const input = element('input', { id: 'invite', name: 'invite', type: 'text', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', dir: 'ltr', required: true });
          show(t['invite.heading'], [element('p', {}, t['invite.body']),
            form(t['invite.label'], t['recovery.hint'], input, t.continue, async (invite, wrong) => {
              const res = await post('invite', { invite });
              if (res.ok) { phone(); return; }
              const e = await json(res);
              if (ended(e)) over(e); else wrong(e.reason === 'malformed_code' ? t['problem.malformed_recovery'] : problem(t, e.reason));
            }), quit()], input);
        };
        // Nobody has asked for the text yet: the password came by itself.
        const offer = () => {
          const notice = element('p', { role: 'alert' }, challenge.text_unsent ? unsent(t, challenge) : '');
          const send = element('button', { type: 'button' }, t['number.submit']);
          send.addEventListener('click', async () => {
            send.disabled = true;
            try {
              const res = await post('resend', {});
              if (res.ok) { code(true); return; }
              const e = await json(res);
              if (ended(e)) over(e); else notice.textContent = problem(t, e.reason);
            } catch { notice.textContent = t['problem.other']; } finally { send.disabled = false; }
          });
          show(t['ask.heading'], [element('p', {}, ...around('ask.body')), notice, send, quit()], send);
        };
        if (challenge.invitation_needed) invitation();
        else if (!two.OTPPhoneNo && !two.IsOTPAuthenticatorVerified) phone();
        else if (challenge.text_waits) offer(); else code(Boolean(two.OTPStatus));
      });
    } finally {
      host.remove();
      before?.focus?.();
    }
  }

  // now makes a call that everything waits for.
  function now(method, url, headers, body) {
    const x = new NativeXHR();
    x.open(method, url, false);
    for (const [name, value] of headers) x.setRequestHeader(name, value);
    x.send(body);
    const lines = x.getAllResponseHeaders().split('\r\n').filter(Boolean).map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]);
    return { res: { status: x.status, statusText: x.statusText, headers: new Headers(lines) }, bytes: new TextEncoder().encode(x.responseText), text: x.responseText };
  }

  // askNow is ask for a call that the page waits for with everything: no dialog of
  // ours could be shown meanwhile, but the browser's own windows can.
  function askNow(challenge) {
    const read = (text) => { try { return JSON.parse(text); } catch { return {}; } };
    texts ??= read(now('GET', `${base}/bridge`, [['Accept', 'application/json']]).text);
    const t = texts;
    const two = challenge.SecondFactorAuthentication;
    let number = two.OTPPhoneNo ?? '';
    let said = challenge.text_unsent || !two.OTPStatus && !challenge.text_waits && number ? unsent(t, challenge) : '';
    const around = (key) => t[key].replace('{ending}', () => number.slice(-2));
    const lines = (...all) => all.filter(Boolean).join('\n\n');
    const send = (route, body) => now('POST', `${base}/${route}`, [['Content-Type', 'application/json'], ['Accept', 'application/json']], JSON.stringify(body));
    // step asks until what was given is taken; null is for who gives up, and for the end.
    const step = (route, ask, body) => {
      for (;;) {
        const given = ask();
        if (given === null || given === false) { send('cancel', {}); return null; }
        const got = send(route, body(given));
        if (got.res.status < 400 || got.res.headers.get(mark) === 'released') { said = ''; return got; }
        const e = read(got.text);
        if (ended(e)) {
          window.alert(lines(t[`title.${e.reason}`] ?? t['title.other'], t[`message.${e.reason}`] ?? t['message.other']));
          return null;
        }
        said = problem(t, e.reason);
      }
    };
    if (challenge.invitation_needed && !step('invite', () => window.prompt(lines(said, t['invite.body'], t['invite.label'])), (invite) => ({ invite }))) return null;
    if (!number && !two.IsOTPAuthenticatorVerified) {
      if (!step('phone', () => window.prompt(lines(said, t['number.body'], t['number.hint'], t['number.notice'])), (typed) => {
        number = typed.replace(/\D/g, '');
        return { phoneno2fa: typed };
      })) return null;
    } else if (challenge.text_waits && !step('resend', () => window.confirm(lines(said, around('ask.body'))), () => ({}))) return null;
    const got = step('verify', () => window.prompt(lines(said, around('code.sent'), t['code.hint'])), (otp) => ({ otp, release: 'answer' }));
    return got && got.res.headers.get(mark) !== 'released' ? again : got;
  }

  // One dialog at a time; a second sign-in waits for the first.
  let line = Promise.resolve();
  const inTurn = (challenge) => {
    const mine = line.then(() => ask(challenge));
    line = mine.catch(() => {});
    return mine;
  };

  // ---- fetch ----------------------------------------------------------------
  window.fetch = async function (...args) {
    // The body of a Request can be read once.
    const [what] = args;
    const spare = what instanceof Request && !what.bodyUsed && !['GET', 'HEAD'].includes(what.method) ? what.clone() : what;
    const res = await fetchNow(...args);
    if (res.type !== 'basic' || res.headers.get(mark) !== 'challenge') return res;
    const answer = await inTurn(await res.clone().json()).catch(() => null);
    if (!answer) return res;
    if (answer === again) return fetchNow(spare, ...args.slice(1));
    Object.defineProperty(answer, 'url', { value: res.url });
    return answer;
  };

  // ---- XMLHttpRequest ---------------------------------------------------------
  // The listeners of the constructor are the first, so that they can keep the
  // events of a challenge from those of the page.
  class XMLHttpRequest extends NativeXHR {
    #sync = false; #answer = null; #held = false; #shown = false; #gone = false;
    #call = {};

    constructor(...args) {
      super(...args);
      for (const name of ['readystatechange', 'progress', 'load', 'loadend']) super.addEventListener(name, (e) => this.#event(e));
      // A challenge that broke off is an error like any other.
      for (const name of ['error', 'timeout', 'abort']) super.addEventListener(name, () => this.#held && this.#show('readystatechange'));
    }

    open(...args) {
      this.#sync = args.length > 2 && !args[2];
      this.#answer = null; this.#held = false; this.#shown = false; this.#gone = false;
      const [method, url, , user, password] = args;
      this.#call = { method, url, headers: [], user, password };
      return super.open(...args);
    }

    setRequestHeader(name, value) {
      super.setRequestHeader(name, value);
      this.#call.headers.push([name, value]);
    }

    send(body) {
      const { method, url, headers, user, password } = this.#call;
      // Browsers keep these until they are asked, with a window of their own when they
      // are wrong; the gate asks no script for them.
      if (user != null && new URL(url, document.baseURI).origin === location.origin && !headers.some(([name]) => name.toLowerCase() === 'authorization')) {
        this.setRequestHeader('Authorization', `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(`${user}:${password ?? ''}`)))}`);
      }
      this.#call.body = ['GET', 'HEAD'].includes(String(method).toUpperCase()) ? undefined : body ?? undefined;
      super.send(body);
      if (!this.#sync || !this.#held) return;
      try {
        const answer = askNow(JSON.parse(super.responseText));
        this.#answer = answer === again ? now(method, url, headers, this.#call.body) : answer;
      } catch { this.#answer = null; }
      this.#show('readystatechange', 'load', 'loadend');
    }

    // Pages give up a call by timers of their own, before a text can arrive.
    abort() {
      if (this.#held && !this.#shown) this.#gone = true;
      return super.abort();
    }

    #event(e) {
      if (this.#shown || !e.isTrusted) return;
      if (!this.#held && (super.readyState < 2 || super.getResponseHeader(mark) !== 'challenge')) return;
      this.#held = true;
      e.stopImmediatePropagation();
      if (e.type === 'loadend' && !this.#sync) this.#take();
    }

    #show(...names) {
      this.#shown = true;
      for (const name of names) this.dispatchEvent(name === 'readystatechange' ? new Event(name) : new ProgressEvent(name));
    }

    async #take() {
      let answer = null;
      try {
        const text = await this.#text();
        answer = await inTurn(JSON.parse(text));
        if (answer === again) {
          const { method, url, headers, body } = this.#call;
          answer = await fetchNow(url, { method, headers, body, credentials: 'same-origin' });
        }
        if (answer) {
          const bytes = await answer.arrayBuffer();
          this.#answer = { res: answer, bytes };
        }
      } catch { this.#answer = null; }
      if (!this.#gone) this.#show('readystatechange', 'load', 'loadend');
      else if (answer) location.reload(); // nobody waits for the answer, but its session is signed in
    }

    async #text() {
      switch (super.responseType) {
        case '': case 'text': return super.responseText;
        case 'json': return JSON.stringify(super.response);
        default: return new Response(super.response).text();
      }
    }

    get readyState() { return this.#held && !this.#shown ? 3 : super.readyState; }
    get status() { return this.#answer?.res.status ?? super.status; }
    get statusText() { return this.#answer?.res.statusText ?? super.statusText; }
    get responseText() { return this.#answer ? new TextDecoder().decode(this.#answer.bytes) : super.responseText; }
    get response() {
      if (!this.#answer) return super.response;
      const { bytes, res } = this.#answer;
      switch (super.responseType) {
        case 'arraybuffer': return bytes;
        case 'blob': return new Blob([bytes], { type: res.headers.get('Content-Type') ?? '' });
        case 'json': try { return JSON.parse(new TextDecoder().decode(bytes)); } catch { return null; }
        case 'document': return new DOMParser().parseFromString(new TextDecoder().decode(bytes), 'text/html');
        default: return new TextDecoder().decode(bytes);
      }
    }
    getResponseHeader(name) { return this.#answer ? this.#answer.res.headers.get(name) : super.getResponseHeader(name); }
    getAllResponseHeaders() {
      if (!this.#answer) return super.getAllResponseHeaders();
      return [...this.#answer.res.headers].map(([k, v]) => `${k}: ${v}\r\n`).join('');
    }
  }
  window.XMLHttpRequest = XMLHttpRequest;
  Object.defineProperty(window, 'caddymfaBridge', { value: true });
})();
