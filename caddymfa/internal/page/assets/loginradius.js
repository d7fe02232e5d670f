// LoginRadius' browser interface, as far as a login with a texted code goes: a page
// that loads LoginRadiusV2.js loads this file instead. Names, ids, classes and
// hooks are theirs; what is here, and what is not, stands in the README.
(() => {
  'use strict';

  const home = new URL(document.currentScript?.src || location.href).origin;

  // The storage keys are part of the interface: pages look for the user's token
  // there, and the code may be asked for by another page than the password. They
  // live as long as the tab, not in localStorage as LoginRadius', where every tab
  // and the next user of the browser would find them; in memory where a page has
  // no storage.
  const SECOND = 'lr2fatok';
  const ACCESS = 'LRTokenKey';
  const USER = 'lr-user-uid';
  const memory = new Map();
  const stored = (use, instead) => { try { return use(sessionStorage); } catch { return instead(); } };
  const storage = {
    getBrowserStorage: (key) => stored((s) => s.getItem(key), () => memory.get(key) ?? null),
    setBrowserStorage: (key, value) => stored((s) => s.setItem(key, value), () => memory.set(key, value)),
    removeBrowserStorage: (key) => stored((s) => s.removeItem(key), () => memory.delete(key)),
  };

  // What fails without an answer of the server has LoginRadius' numbers as well,
  // so that mapErrorMessages finds it.
  const failures = {
    429: 'Too many requests',
    905: 'The access token is invalid',
    1000: 'The server gave no answer',
    1103: 'Two factor authentication token is invalid',
  };
  const failure = (code, text = failures[code]) => ({ ErrorCode: code, Message: text, Description: text });
  // Errors that are about what was typed: the field is marked, not only explained.
  const typed = new Set([938, 966, 1038, 1043, 1067, 1068, 1069, 1076, 1096, 1105, 1106, 1128, 1129]);
  // Errors after which a token is of no more use.
  const ended = { [SECOND]: new Set([1103, 1104, 1264]), [ACCESS]: new Set([905, 906]) };

  const element = (name, attributes, ...children) => {
    const e = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== false) e.setAttribute(key, value);
    e.append(...children.filter(Boolean));
    return e;
  };
  const lower = (texts) => Object.fromEntries(Object.entries(texts ?? {}).map(([k, v]) => [k.toLowerCase(), v]));

  window.LoginRadiusV2 = function LoginRadiusV2(options = {}) {
    // Without a word on it the server decides, and it never does without.
    options = { twoFactorAuthentication: true, ...options };
    const optional = options.optionalTwoFactorAuthentication === true || options.twoFactorAuthentication === 'optional';
    const base = (options.apiCustomDomain ? `https://${options.apiCustomDomain}` : home) + (options.apiPrefix ?? '/identity/v2');

    // ---- texts and hooks ----------------------------------------------------
    const submits = { login: 'Login', updatephone: 'Update', updatephone2fa: 'Update', twofaotp: 'Verify', backupcode: 'Login' };
    const buttons = {
      ...submits,
      otpauthenticator: 'Verify Identity via SMS', resendotp: 'Resend via SMS', changenumber: 'Change Number',
      backupcodebutton: 'Try another way to Sign In', backupcodebackbutton: 'Back',
      createtwofactorauthentication: '2-Step Verification', disableotpauthenticator: 'Disable SMS Verification',
      generatebackupcodebutton: 'Generate Backup Codes', resetbackupcode: 'Reset Backup Code',
    };
    const texts = {
      emailid: 'Email or user name', password: 'Password', staylogin: 'Remember me', phoneno2fa: 'Mobile number',
      otp: 'Verification Code', backupcode: 'Backup Code', otpsent: 'A new code was sent.',
      reauth: 'To go on, enter the code that was just sent to your number.',
    };
    const labels = {};
    const placeholders = {};
    const required = { required: 'The %s field is required.' };
    const messages = {};
    const events = {};

    const registered = new Map();
    const hooks = {
      register: (name, callback) => { registered.set(name, [...registered.get(name) ?? [], callback]); },
      call: (name, ...args) => registered.get(name)?.forEach((callback) => callback(...args)),
    };
    for (const [name, callback] of Object.entries({
      setButtonsName: (names) => Object.assign(buttons, lower(names)),
      customizeFormLabel: (names) => Object.assign(labels, lower(names)),
      customizeFormPlaceholder: (names) => Object.assign(placeholders, lower(names)),
      mapErrorMessages: (list) => [list].flat().forEach((m) => { messages[m.code] = m; }),
      mapValidationMessages: (list) => [list].flat().forEach((m) => { required[m.rule] = m.message; }),
      addEventOnElement: (list) => Object.assign(events, list),
      setLocaleBasedInfo: (all) => {
        hooks.call('setButtonsName', all.buttonsName);
        hooks.call('customizeFormLabel', all.labels);
        hooks.call('customizeFormPlaceholder', all.placeholders);
        hooks.call('mapErrorMessages', all.errorMessages ?? []);
        hooks.call('mapValidationMessages', all.validationMessages ?? []);
      },
    })) hooks.register(name, callback);

    const told = (e) => {
      const own = messages[e.ErrorCode];
      return { ...e, Message: own?.message ?? e.Message, Description: own?.description ?? own?.message ?? e.Description ?? e.Message };
    };

    // ---- calls --------------------------------------------------------------
    // request resolves with the answer, and rejects with LoginRadius' error object.
    const request = (action, method, path, { query, body, token } = {}) => new Promise((resolve, reject) => {
      const url = new URL(base + path);
      for (const [key, value] of Object.entries({ apikey: options.apiKey, ...query })) if (value) url.searchParams.set(key, value);
      // A query is written to logs: the token travels there for who insists on it only.
      const inQuery = options.passAccessTokenInHeader === false;
      if (token && inQuery) url.searchParams.set('access_token', token);
      hooks.call('startProcess', action);
      const xhr = new XMLHttpRequest();
      xhr.open(method, url);
      if (token && !inQuery) xhr.setRequestHeader('Authorization', `Bearer ${token}`);
      if (body) xhr.setRequestHeader('Content-Type', 'application/json');
      hooks.call('modifyXhrRequest', action, xhr, url.href);
      xhr.addEventListener('loadend', () => {
        let answer = null;
        try { answer = JSON.parse(xhr.responseText); } catch { /* no answer of the API */ }
        try { hooks.call('endProcess', action); } finally {
          if (xhr.status === 200 && answer && !answer.ErrorCode) resolve(answer);
          else reject(told(answer?.ErrorCode ? answer : failure(xhr.status === 429 ? 429 : 1000)));
        }
      });
      xhr.send(body && JSON.stringify(body));
    });

    // factor makes a call about the second factor: of the login that is under way
    // (key SECOND), or of the user who is signed in (key ACCESS).
    const factor = async (key, action, method, path, { template, query, body, token = storage.getBrowserStorage(key) } = {}) => {
      const login = key === SECOND;
      if (!token) throw told(failure(login ? 1103 : 905));
      try {
        return await request(action, method, `/auth/${login ? 'login' : 'account'}${path}`, {
          body, token: !login && token,
          query: { ...login && { secondfactorauthenticationtoken: token }, smstemplate2fa: template, ...query },
        });
      } catch (e) {
        if (ended[key].has(e.ErrorCode) && storage.getBrowserStorage(key) === token) storage.removeBrowserStorage(key);
        throw e;
      }
    };

    // What the page wants of an answer to a login, and what the next step needs.
    const needed = ['access_token', 'refresh_token', 'expires_in', 'Profile/Uid', ...['SecondFactorAuthenticationToken', 'IsOTPAuthenticatorVerified',
      'OTPPhoneNo', 'OTPStatus'].map((name) => `SecondFactorAuthentication/${name}`)];
    const projection = () => {
      const wanted = options.projectionFields?.login;
      return wanted?.length && { fields: [...new Set([...wanted, ...needed])].join() };
    };

    const signedIn = (answer) => {
      if (!answer.access_token) throw told(failure(1000));
      storage.removeBrowserStorage(SECOND);
      storage.setBrowserStorage(ACCESS, answer.access_token);
      if (answer.Profile?.Uid) storage.setBrowserStorage(USER, answer.Profile.Uid);
      return answer;
    };

    // A number in digits alone may be somebody's user name: it is a phone where
    // the page says so, or it begins with +.
    const identifier = (name) => {
      if (/^[^@\s]+@[^@\s]+$/.test(name)) return 'email';
      return (options.phoneLogin ? /^\+?[\d\s().-]{6,}$/ : /^\+[\d\s().-]{6,}$/).test(name) ? 'phone' : 'username';
    };

    const login = async ({ email, emailid = email, ...rest }) => {
      const answer = await request('login', 'POST', '/auth/login/2fa', {
        body: { ...emailid && { [identifier(emailid)]: emailid }, ...rest },
        query: { smstemplate2fa: options.smsTemplate2FA, ...projection() },
      });
      if (!answer.SecondFactorAuthentication) return signedIn(answer);
      storage.setBrowserStorage(SECOND, answer.SecondFactorAuthentication.SecondFactorAuthenticationToken);
      delete answer.access_token;
      return answer;
    };
    const number = (key, { phoneNo2FA, phoneno2fa = phoneNo2FA }) => factor(key, 'updatePhone', 'PUT', '/2fa', { body: { phoneno2fa }, template: options.smsTemplate2FA });
    const resend = (key, data) => key === SECOND
      ? factor(key, 'resendOTP', 'GET', '/2fa/resend', { template: options.smsTemplate2FA })
      : number(key, data);
    const prove = async (key, way, body) => {
      if (key === ACCESS) return factor(key, 'verifyOTP', 'PUT', `/2fa/verification/${way}`, { body });
      return signedIn(await factor(key, 'verifyOTP', 'PUT', `/2fa/verification/${way}`, { body, template: options.smsTemplate2FAWelcome, query: projection() }));
    };
    const reset = (name) => factor(ACCESS, 'resetTwoFactor', 'DELETE', '/2fa/authenticator', { body: { [name]: true } });
    const codes = (path, token) => factor(ACCESS, 'backupCode', 'GET', `/2fa/backupcode${path}`, { token });

    // ---- forms --------------------------------------------------------------
    const fields = {
      emailid: { autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false' },
      password: { type: 'password', autocomplete: 'current-password' },
      stayLogin: { type: 'checkbox' },
      phoneNo2FA: { type: 'tel', autocomplete: 'tel', inputmode: 'tel' },
      otp: { type: options.maskSensitiveInput ? 'password' : 'text', autocomplete: 'one-time-code', inputmode: 'numeric' },
      backupcode: { autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false' },
    };
    // schema is what the hook beforeFormRender may change before a form is made of it.
    const schema = (names) => names.filter(Boolean).map((name) => ({
      type: { password: 'password', stayLogin: 'multi' }[name] ?? 'string', name, display: texts[name.toLowerCase()],
      rules: name === 'stayLogin' ? '' : 'required', permission: 'w',
    }));

    // A view is a container with its callbacks, and what is in it now.
    const mount = (view, content) => {
      const next = view.shown;
      view.shown = true;
      view.container.replaceChildren(content);
      for (const [id, list] of Object.entries(events)) {
        for (const { event, eventCallback } of [list].flat()) content.querySelector(`#${CSS.escape(id)}`)?.addEventListener(event, eventCallback);
      }
      // The first step leaves the focus to the page, the next ones follow the user.
      if (next) content.querySelector('input').focus();
    };
    const attempt = async (view, act) => {
      if (view.busy) return;
      view.busy = true;
      view.alert.textContent = view.status.textContent = '';
      view.input?.removeAttribute('aria-invalid');
      try { await act(); } catch (e) {
        if (!e.ErrorCode) throw e; // no answer, but a fault in a callback of the page
        if (ended[view.key].has(e.ErrorCode)) view.restart?.();
        view.alert.textContent = e.Message;
        if (view.input && typed.has(e.ErrorCode)) view.input.setAttribute('aria-invalid', 'true');
        view.input?.focus();
        view.input?.select();
        view.onError([e]);
      } finally { view.busy = false; }
    };
    const alerts = (view) => {
      view.alert = element('div', { role: 'alert', class: `${view.prefix}validation-message` });
      view.status = element('div', { role: 'status', class: `${view.prefix}status` });
      view.input = null;
    };
    const button = (view, name, act) => {
      const input = element('input', { type: 'button', id: `${view.prefix}button-${name}`, value: buttons[name] });
      input.addEventListener('click', () => attempt(view, () => act(input)));
      return element('div', { class: `${view.prefix}-form-element-content content-${view.prefix}${name}` }, input);
    };
    const choose = (view, ...choices) => {
      alerts(view);
      mount(view, element('div', {}, view.alert, ...choices));
    };

    // show makes a form of names, with further buttons, and hands what was typed to
    // send; value is what %value stands for in a label.
    const show = (view, name, { names, value = '', send, others }) => {
      const { prefix } = view;
      const list = schema(names);
      hooks.call('beforeFormRender', name, list);
      alerts(view);
      const form = element('form', { name: prefix + name, method: 'post', novalidate: '' });
      const inputs = list.filter((f) => f.name in fields).map((field) => {
        const id = `${prefix}${name}-${field.name}`;
        const key = field.name.toLowerCase();
        const text = (labels[key] ?? field.display).replaceAll('%value', () => value);
        const must = field.rules?.includes('required');
        const check = field.type === 'multi';
        const alert = element('div', { id: `validation-${id}`, role: 'alert', class: `${prefix}validation-message validation-${prefix}${field.name}` });
        const input = element('input', {
          type: 'text', ...fields[field.name], name: field.name, id, 'aria-describedby': alert.id,
          class: `${prefix}${field.type} ${prefix}${field.name}${must ? ' lr-required' : ''}`,
          required: must && '', placeholder: placeholders[key] ?? field.placeholder ?? false,
        });
        const label = element('label', { for: id }, text);
        form.append(element('div', { class: `${prefix}-form-element-content content-${prefix}${field.name}` },
          ...check ? [input, label] : [label, input], alert));
        // What the server says of a form is about its last field.
        if (!check) Object.assign(view, { input, alert });
        return { input, alert, must, text };
      });
      const submit = submits[name.toLowerCase()].toLowerCase();
      form.append(
        view.status,
        element('input', { type: 'submit', id: `${prefix}submit-${submit}`, class: `${prefix}submit submit-${prefix}${submit}`, value: buttons[name.toLowerCase()] }),
        ...others().filter(Boolean));
      const typedIn = (input) => {
        if (input.type === 'checkbox') return input.checked;
        return input.name === 'password' ? input.value : input.value.trim();
      };
      form.addEventListener('submit', (e) => {
        e.preventDefault();
        attempt(view, () => {
          const missing = inputs.filter(({ input, alert, must, text }) => {
            const empty = must && !typedIn(input);
            alert.textContent = empty ? (required[`required#${input.name}`] ?? required.required).replaceAll('%s', () => text) : '';
            if (empty) input.setAttribute('aria-invalid', 'true'); else input.removeAttribute('aria-invalid');
            return empty;
          });
          hooks.call(missing.length ? 'afterValidation' : 'eventCalls', name);
          if (missing.length) missing[0].input.focus();
          else return send(Object.fromEntries(inputs.map(({ input }) => [input.name, typedIn(input)])));
        });
      });
      mount(view, form);
      hooks.call('afterFormRender', name, list, prefix, form);
    };

    // ---- steps --------------------------------------------------------------
    const back = (view) => button(view, 'backupcodebackbutton', () => view.restart());
    const another = (view) => button(view, 'backupcodebutton', () => show(view, 'backupcode', {
      names: ['backupcode'],
      send: async (data) => view.finish(await prove(SECOND, 'backupcode', data)),
      others: () => [back(view)],
    }));

    const askNumber = (view) => show(view, view.key === SECOND ? 'updatePhone' : 'updatePhone2FA', {
      names: ['phoneNo2FA'],
      send: (data) => proven(view, 'number', async () => {
        const answer = await number(view.key, data);
        askCode(view, data);
        view.onSuccess(answer);
      }),
      others: () => [back(view)],
    });

    const askCode = (view, {
      phoneNo2FA, verified,
      again = () => resend(view.key, { phoneNo2FA }), send = async (data) => view.finish(await prove(view.key, 'otp', data)),
    }) => show(view, 'twofaotp', {
      names: ['otp'],
      value: phoneNo2FA ?? '',
      send,
      others: () => [
        button(view, 'resendotp', async (input) => {
          await again();
          view.status.textContent = labels.otpsent ?? texts.otpsent;
          view.input.focus();
          view.input.select();
          if (!options.disableResendOTPButton) return;
          input.disabled = true;
          setTimeout(() => { input.disabled = false; }, 1000 * (options.disableResendOTPButtonDelay ?? 5));
        }),
        view.key === SECOND && !verified && button(view, 'changenumber', () => askNumber(view)),
        view.key === SECOND && verified && another(view),
        back(view),
      ],
    });

    // proven does what the server wants the second factor for once more: then the
    // user is asked for a code first, which counts for aim alone.
    const proven = async (view, aim, act) => {
      try { await act(); } catch (e) {
        if (e.reason !== 'proof_needed') throw e;
        const again = () => factor(ACCESS, 'reAuthenticate', 'GET', '/reauth/2fa', { template: options.smsTemplate2FA, query: { for: aim } });
        const { OTPPhoneNo } = await again();
        askCode(view, { phoneNo2FA: OTPPhoneNo, again, send: async (body) => {
          await factor(ACCESS, 'reAuthenticate', 'PUT', '/reauth/2fa/otp', { body });
          await act();
        } });
        view.status.textContent = labels.reauth ?? texts.reauth;
      }
    };

    const actions = {
      login: (view) => {
        view.key = SECOND;
        view.finish = (answer) => { view.container.replaceChildren(); view.onSuccess(answer); };
        view.restart = null;
        show(view, 'login', {
          names: ['emailid', 'password', options.stayLogin && 'stayLogin'],
          send: async (data) => {
            const answer = await login(data);
            const two = answer.SecondFactorAuthentication;
            if (!two) return view.finish(answer);
            view.restart = () => { storage.removeBrowserStorage(SECOND); actions.login(view); };
            const state = { phoneNo2FA: two.OTPPhoneNo, verified: two.IsOTPAuthenticatorVerified };
            if (two.OTPStatus) askCode(view, state);
            else if (!state.verified && !state.phoneNo2FA) askNumber(view);
            // Nothing was sent yet: the user says when.
            else {
              const send = button(view, 'otpauthenticator', async () => { await resend(SECOND); askCode(view, state); });
              choose(view, send, state.verified && another(view), back(view));
            }
            view.onSuccess(answer);
          },
          others: () => [],
        });
      },

      createTwoFactorAuthentication: (view) => {
        const settings = async () => {
          const two = await factor(ACCESS, 'createTwoFactorAuthentication', 'GET', '/2fa');
          const change = button(view, two.IsOTPAuthenticatorVerified ? 'changenumber' : 'otpauthenticator', () => askNumber(view));
          const disable = button(view, 'disableotpauthenticator',
            () => proven(view, 'remove', async () => view.finish(await reset('otpauthenticator'), 'otpauthenticator')));
          choose(view, change, two.IsOTPAuthenticatorVerified && optional && disable, back(view));
        };
        start(view, 'createtwofactorauthentication', settings);
      },

      backupCodeButton: (view) => start(view, 'generatebackupcodebutton', () => proven(view, 'codes', async () => view.finish(await codes('')))),
      resetBackupCodeButton: (view) => start(view, 'resetbackupcode', () => proven(view, 'codes', async () => view.finish(await codes('/reset')))),
    };
    // start shows the one button that something of the user's begins with, and ends at.
    const start = (view, name, act) => {
      view.key = ACCESS;
      view.restart = () => choose(view, button(view, name, act));
      view.finish = (...answer) => { view.restart(); view.onSuccess(...answer); };
      view.restart();
    };

    // ---- what pages see -----------------------------------------------------
    this.options = options;
    this.$hooks = hooks;
    this.storage = storage;
    this.util = {
      ready: (callback) => {
        if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', () => callback());
        else setTimeout(callback);
      },
    };

    // init shows an action in a container, named by its id or class.
    this.init = (action, { container, onSuccess = () => {}, onError = () => {}, classPrefix = 'loginradius-' } = {}) => {
      hooks.call('beforeInit', action);
      const place = document.getElementById(container) ?? document.getElementsByClassName(container)[0];
      if (!Object.hasOwn(actions, action)) onError([told(failure(971, `The action ${action} is not supported`))]);
      else if (!place) onError([told(failure(971, `There is no container ${container}`))]);
      else actions[action]({ container: place, prefix: classPrefix, onSuccess, onError });
    };

    // The same calls for forms of the page's own.
    const answer = (promise, onSuccess = () => {}, onError = () => {}) => {
      promise.then(onSuccess, (e) => { if (!e.ErrorCode) throw e; onError([e]); });
    };
    const key = () => (storage.getBrowserStorage(SECOND) ? SECOND : ACCESS);
    this.api = {
      init: () => {}, // nothing is fetched before the first call
      twoFALogin: (data, ...then) => answer(login(data), ...then),
      twoFAUpdatePhone: (data, ...then) => answer(number(key(), data), ...then),
      twoFAVerifyOTP: (data, ...then) => answer(prove(key(), 'otp', data), ...then),
      twoFAResendOTP: (data, ...then) => answer(resend(key(), data), ...then),
      resetTwoFactor: (name, ...then) => answer(reset(name), ...then),
      getBackupCode: (token, ...then) => answer(codes('', token), ...then),
      resetBackupCode: (token, ...then) => answer(codes('/reset', token), ...then),
      invalidateToken: (token, ...then) => answer(request('logout', 'GET', '/auth/access_token/InValidate', { token }).then((done) => {
        for (const k of [SECOND, ACCESS, USER]) storage.removeBrowserStorage(k);
        return done;
      }), ...then),
    };
  };
})();
