// A stand-in for the server of LoginRadius' interface: the calls, names, shapes and
// errors of its documentation for the SMS passcode, and two pages that are written as
// that documentation shows, under a policy that allows nothing but what they need.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';

const script = new URL('../../caddymfa/internal/page/assets/loginradius.js', import.meta.url);
export const policy = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'";
export const markup = '<img src=/x onerror="document.title=\'owned\'"><b>Bold</b>';

const html = (title, containers, code) => `<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width"><title>${title}</title>
<link rel=stylesheet href=/page.css></head><body><main><h1>${title}</h1>${containers.map((id) => `<div id="${id}"></div>`).join('')}<p id=says></p></main>
<script src=/mfa/assets/loginradius.js></script><script src=/${code}></script></body></html>`;

// The options may be added to in the address; prepare is where a test registers hooks.
const options = `
var commonOptions = {};
commonOptions.apiKey = '5e8f9a52-0f7a-4d0e-9f1b-2b7f6c1f6f52';
commonOptions.appName = 'payroll';
commonOptions.twoFactorAuthentication = true;
Object.assign(commonOptions, JSON.parse(decodeURIComponent(location.search.slice(1)) || '{}'));
var LRObject = new LoginRadiusV2(commonOptions);
window.got = { success: [], error: [] };
if (window.prepare) window.prepare(LRObject);
function show(action, container, done) {
  var action_options = {};
  action_options.onSuccess = function (response) { window.got.success.push([].slice.call(arguments)); if (done) done(response); };
  action_options.onError = function (errors) { window.got.error.push(errors); };
  action_options.container = container;
  LRObject.util.ready(function () { LRObject.init(action, action_options); });
}
function says(text) { document.getElementById('says').textContent = text; }
`;
export const files = {
  '/login': ['text/html', html('Payroll', ['login-container'], 'login.js')],
  '/login.js': ['text/javascript', `${options}
show('login', 'login-container', function (response) { if (response.access_token) says('in as ' + response.Profile.Uid); });`],
  '/settings': ['text/html', html('Settings', ['authentication-container', 'backupcodebutton-container', 'resetbackupcodebutton-container'], 'settings.js')],
  '/settings.js': ['text/javascript', `${options}
show('createTwoFactorAuthentication', 'authentication-container', function (response) {
  if (response.IsDeleted) says('Disabled successfully.');
  else if (response.Uid) says('Verified successfully.');
  else if (response.AccountSid) says('An OTP has been sent.');
});
show('backupCodeButton', 'backupcodebutton-container', function (response) { says(response.BackUpCodes.join(' ')); });
show('resetBackupCodeButton', 'resetbackupcodebutton-container', function (response) { says(response.BackUpCodes.join(' ')); });`],
  '/page.css': ['text/css', `
:root { color-scheme: light dark; --page: #fff; --ink: #1b1b1b; --wrong: #b00020; } @media (prefers-color-scheme: dark) { :root { --page: #16181c; --ink: #eee; --wrong: #ff9c9c; } }
body { font: 1rem/1.5 sans-serif; margin: 1.5rem; background: var(--page); color: var(--ink); } main { max-width: 22rem; margin: auto; }
label { display: block; margin-top: 1rem; font-weight: 600; } .loginradius-multi + label { display: inline; font-weight: 400; }
input:not([type=checkbox]) { box-sizing: border-box; width: 100%; font: inherit; padding: .5rem; margin-top: .25rem; }
input[aria-invalid] { outline: 2px solid var(--wrong); } .loginradius-validation-message { color: var(--wrong); }
input[type=submit] { margin-top: 1rem; } [class*=content-loginradius] > input[type=button] { margin-top: .5rem; }`],
};

const zero = '00000000-0000-0000-0000-000000000000';
const sms = { AccountSid: 'caddymfa', Sid: '8071aba1-8c25-4bb0-9f8a-0d3a1f4d7a10' };
const numbers = {
  901: [403, 'The API key is unauthorized'], 905: [403, 'The access token is invalid'], 906: [403, 'The access token has expired'], 950: [500, 'Operation failed due to an unknown error'],
  966: [401, 'Invalid user ID and/or password'], 971: [400, 'Invalid request'], 1067: [403, 'Invalid OTP Code'], 1096: [400, 'Invalid phone number'], 1103: [403, 'Two factor authentication token is invalid'],
  1143: [403, 'Prove the second factor again first'], 1121: [403, 'This is not valid request for removing two factor authentication'], 1123: [403, 'You have reached a limit for sending SMS'],
  1127: [403, 'Two factor authentication backup code is already generated'], 1129: [403, 'Two factor authentication backup code is not valid or has already been used'], 1250: [403, 'Invalid request to update the phone number for two-factor authentication.'],
  1264: [403, 'Account has been locked'],
};
class Refusal { constructor(code, message, reason) { Object.assign(this, { code, message, reason }); } }
const refuse = (...why) => { throw new Refusal(...why); };

// start serves the pages and the API. state is what the API knows, calls what it was
// asked; the code is 123456, the backup codes are of the form of its samples.
export async function start() {
  const calls = [];
  const state = {};
  const reset = () => {
    calls.length = 0;
    Object.assign(state, {
      users: {
        alice: { phone: '+447400123456', verified: true }, bob: {}, carol: { optional: true },
        dave: { phone: '+447400123457', verified: true, unsent: true }, erin: { phone: '+447400123458', verified: false },
      },
      second: new Map(), access: new Map(), wrong: 0, next: 0, answer: null,
    });
  };
  reset();
  const uuid = () => `b1fbbba5-2a5e-41a2-96da-${String(++state.next).padStart(12, '0')}`;
  const profile = (user) => ({ Uid: `uid-of-${user.name}`, UserName: user.name, EmailVerified: true });
  const signedIn = (user) => {
    const access_token = uuid();
    state.access.set(access_token, user);
    return { Profile: profile(user), access_token, refresh_token: uuid(), expires_in: '2030-04-06T08:36:53.3005592Z' };
  };
  const settings = (user) => ({
    QRCode: null, ManualEntryCode: null, IsGoogleAuthenticatorVerified: false, IsAuthenticatorVerified: false, IsEmailOtpAuthenticatorVerified: false,
    IsOTPAuthenticatorVerified: Boolean(user.verified), OTPPhoneNo: user.phone ? `XXXXXXXX${user.phone.slice(-2)}` : null,
    OTPStatus: user.phone && !user.unsent ? sms : null, Email: [], EmailOTPStatus: null, IsSecurityQuestionAuthenticatorVerified: false, SecurityQuestions: null,
  });
  const number = (user, phone) => {
    if (!/^\+[0-9 ]{8,}$/.test(phone ?? '')) refuse(1096);
    user.asked = phone.replaceAll(' ', '');
    return sms;
  };
  const fresh = (user) => (user.stale ? refuse(1143, undefined, 'proof_needed') : user);
  const prove = (user, otp) => {
    if (otp !== '123456') {
      if (++state.wrong >= 3) refuse(1264);
      refuse(1067);
    }
    Object.assign(user, { phone: user.asked ?? user.phone, verified: true });
  };

  const api = {
    'POST /auth/login/2fa': ({ body }) => {
      const name = body.email?.replace(/@.*/, '') ?? body.username ?? body.phone;
      if (name === 'mallory') refuse(966, markup);
      if (!Object.hasOwn(state.users, name ?? '') || body.password !== `${name}-pw`) refuse(966);
      const user = { name, ...state.users[name] };
      state.users[name] = user;
      if (user.optional && !user.phone) return { SecondFactorAuthentication: null, ...signedIn(user) };
      const token = uuid();
      state.second.set(token, user);
      return {
        SecondFactorAuthentication: { SecondFactorAuthenticationToken: token, ExpireIn: '2030-04-06T08:36:53.3005592Z', ...settings(user) },
        Profile: null, access_token: zero, expires_in: '0001-01-01T00:00:00',
      };
    },
    'PUT /auth/login/2fa': ({ pending, body }) => (pending().verified ? refuse(1250) : number(pending(), body.phoneno2fa)),
    'GET /auth/login/2fa/resend': ({ pending }) => (pending(), sms),
    'PUT /auth/login/2fa/verification/otp': ({ pending, end, body }) => {
      const user = pending();
      try { prove(user, body.otp); } catch (e) { if (e.code === 1264) end(); throw e; }
      end();
      return signedIn(user);
    },
    'PUT /auth/login/2fa/verification/backupcode': ({ pending, end, body }) => {
      const user = pending();
      if (body.backupcode !== '6r4b8-94465') refuse(1129);
      end();
      return signedIn(user);
    },
    'GET /auth/account/2fa': ({ user }) => settings(user()),
    'PUT /auth/account/2fa': ({ user, body }) => number(fresh(user()), body.phoneno2fa),
    'PUT /auth/account/2fa/verification/otp': ({ user, body }) => (prove(user(), body.otp), profile(user())),
    'DELETE /auth/account/2fa/authenticator': ({ user, body }) => {
      if (body.otpauthenticator !== true) refuse(1121);
      Object.assign(fresh(user()), { phone: undefined, verified: false });
      return { IsDeleted: true };
    },
    'GET /auth/account/2fa/backupcode': ({ user }) => {
      if (fresh(user()).codes) refuse(1127);
      user().codes = true;
      return { BackUpCodes: ['6r4b8-94465', 'a1b2c-3d4e5'] };
    },
    'GET /auth/account/2fa/backupcode/reset': ({ user }) => (user(), { BackUpCodes: ['99999-11111'] }),
    'GET /auth/account/reauth/2fa': ({ user }) => ({ ...settings(user()), ExpireIn: '2030-04-06T08:36:53.3005592Z' }),
    'PUT /auth/account/reauth/2fa/otp': ({ user, body }) => {
      if (body.otp !== '123456') refuse(1067);
      user().stale = false;
      return { SecondFactorValidationToken: uuid(), ExpireIn: '2030-04-06T08:36:53.3005592Z' };
    },
    'GET /auth/access_token/InValidate': ({ user, token }) => (user(), state.access.delete(token), { IsPosted: true }),
  };

  const answer = (req, url, body) => {
    const path = url.pathname.replace('/identity/v2', '');
    const token = req.headers.authorization?.replace(/^Bearer /, '') ?? url.searchParams.get('access_token');
    const second = url.searchParams.get('secondfactorauthenticationtoken');
    calls.push({ method: req.method, path, query: Object.fromEntries(url.searchParams), headers: req.headers, body });
    if (url.searchParams.get('apikey') !== '5e8f9a52-0f7a-4d0e-9f1b-2b7f6c1f6f52') refuse(901);
    const act = api[`${req.method} ${path}`] ?? refuse(971);
    return act({
      body, token, end: () => state.second.delete(second),
      pending: () => state.second.get(second) ?? refuse(1103), user: () => state.access.get(token) ?? refuse(905),
    });
  };

  const server = createServer(async (req, res) => {
    const url = new URL(req.url, 'http://127.0.0.1');
    if (req.method === 'GET' && files[url.pathname]) {
      const [type, body] = files[url.pathname];
      res.writeHead(200, { 'Content-Type': `${type}; charset=utf-8`, 'Content-Security-Policy': policy });
      return res.end(body);
    }
    if (url.pathname === '/mfa/assets/loginradius.js') {
      res.writeHead(200, { 'Content-Type': 'text/javascript; charset=utf-8' });
      return res.end(readFileSync(script));
    }
    let text = '';
    for await (const chunk of req) text += chunk;
    let status = 200;
    let out;
    try {
      if (!/^\/(identity\/v2|mfa-api)\//.test(url.pathname)) refuse(971);
      url.pathname = url.pathname.replace('/mfa-api', '/identity/v2');
      out = JSON.stringify(answer(req, url, text ? JSON.parse(text) : undefined));
    } catch (e) {
      if (!(e instanceof Refusal)) throw e;
      const [code, message] = numbers[e.code];
      status = code;
      out = JSON.stringify({ Description: e.message ?? message, ErrorCode: e.code, Message: e.message ?? message, IsProviderError: false, ProviderErrorResponse: null, reason: e.reason });
    }
    // Once, something else than the API's answer.
    if (state.answer) [status, out, state.answer] = [...state.answer, null];
    res.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
    res.end(out);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${server.address().port}`, calls, state, reset, stop: () => { server.closeAllConnections(); server.close(); } };
}
