// Uses LoginRadius' browser interface as pages that were written for it do, against
// a stand-in for its API: every step of a login and of the settings, every hook and
// call, each once under the strictest policy and once looked at.
//
//   node loginradius.mjs PICTURES
import { check, end, launch, pictures } from './chromium.mjs';
import { looker } from './look.mjs';
import { markup, start } from './loginradius-fake.mjs';

// A callback that never comes would be waited for without end.
setTimeout(() => { console.log('FAIL the walk does not end'); process.exit(1); }, 240000).unref();
const look = looker(pictures(process.argv[2]));
const browser = await launch();
const fake = await start();
const { calls, state } = fake;
const seen = new Set();
let now = '';
const same = (what, got, want) => check(`${now}: ${what}`, JSON.stringify(got) === JSON.stringify(want), `${JSON.stringify(got)}, not ${JSON.stringify(want)}`);
const holds = (what, ok, more) => check(`${now}: ${what}`, Boolean(ok), more);

// scenario opens a page, and another time with its states looked at: looking lifts
// the policy. prepare runs in the page before the interface is shown.
async function scenario(name, { path = '/login', options = {}, prepare, user, bypassCSP = false }, walk) {
  for (const looking of [false, true]) {
    fake.reset();
    now = looking ? `${name}, looked at` : name;
    const context = await browser.newContext({ viewport: { width: 320, height: 640 }, bypassCSP });
    const page = await context.newPage();
    const problems = [];
    page.on('console', (m) => m.type() === 'error' && !(bypassCSP ? /status of 4\d\d|ERR_FAILED/ : /status of 4\d\d/).test(m.text()) && problems.push(m.text()));
    page.on('pageerror', (e) => problems.push(e.message));
    await page.addInitScript(() => { window.violations = []; document.addEventListener('securitypolicyviolation', (e) => window.violations.push(e.violatedDirective)); });
    if (user) {
      const of = { name: user, ...state.users[user] };
      state.users[user] = of;
      state.access.set('00000000-0000-4000-8000-0000000000aa', of);
      await page.addInitScript(() => sessionStorage.getItem('LRTokenKey') ?? sessionStorage.setItem('LRTokenKey', '00000000-0000-4000-8000-0000000000aa'));
    }
    if (prepare) await page.addInitScript(`window.prepare = ${prepare}`);
    await page.goto(`${fake.url}${path}?${encodeURIComponent(JSON.stringify(options))}`);
    const step = async (what) => {
      if (!looking || seen.has(what)) return;
      seen.add(what);
      await look(page, what);
    };
    await walk(page, step);
    if (!looking && !bypassCSP) same('nothing against the policy', await page.evaluate(() => window.violations), []);
    same('no fault in the page', problems, []);
    await context.close();
  }
}

const field = (form, name) => `#loginradius-${form}-${name}`;
const password = async (page, user, secret = `${user}-pw`) => {
  await page.fill(field('login', 'emailid'), user);
  await page.fill(field('login', 'password'), secret);
  await page.click('#loginradius-submit-login');
};
const got = (page) => page.evaluate(() => window.got);
const kept = (page) => page.evaluate(() => [{ ...sessionStorage }, { ...localStorage }]);
const focused = (page) => page.evaluate(() => document.activeElement.id);
const says = (page, text) => page.waitForFunction((t) => document.getElementById('says').textContent === t, text, { timeout: 5000 }).then(() => holds(`the page says ${text}`, true), async () => holds(`the page says ${text}`, false, await page.innerText('#says')));
const alert = (page, id) => page.locator(`#validation-loginradius-${id}:not(:empty)`).innerText();
const last = () => calls.at(-1);

await scenario('a verified number', {}, async (page, step) => {
  await page.waitForSelector('form[name=loginradius-login]');
  same('the first form leaves the focus to the page', await focused(page), '');
  for (const [name, autocomplete] of [['emailid', 'username'], ['password', 'current-password']]) {
    same(`${name} has a label, and completes`, [await page.locator(`label[for=loginradius-login-${name}]`).count(), await page.getAttribute(field('login', name), 'autocomplete')], [1, autocomplete]);
  }
  await step('login');
  await page.click('#loginradius-submit-login');
  same('empty fields are named', [await alert(page, 'login-emailid'), await alert(page, 'login-password')], ['The Email or user name field is required.', 'The Password field is required.']);
  same('the first has the focus and is marked', [await focused(page), await page.getAttribute(field('login', 'emailid'), 'aria-invalid')], ['loginradius-login-emailid', 'true']);
  same('nothing was asked', calls.length, 0);
  await step('login-empty');

  await password(page, 'alice', 'wrong');
  same('a wrong password is said', await alert(page, 'login-password'), 'Invalid user ID and/or password');
  same('and tied to its field', [await page.getAttribute(field('login', 'password'), 'aria-describedby'), await page.getAttribute(field('login', 'password'), 'aria-invalid'), await focused(page)], ['validation-loginradius-login-password', 'true', 'loginradius-login-password']);
  same('the alert is one', await page.getAttribute('#validation-loginradius-login-password', 'role'), 'alert');
  same('onError gets an array of one', (await got(page)).error.map((errors) => errors.map((e) => [e.ErrorCode, e.Message, e.Description])), [[[966, 'Invalid user ID and/or password', 'Invalid user ID and/or password']]]);
  await step('login-wrong');

  await password(page, 'alice');
  await page.waitForSelector('form[name=loginradius-twofaotp]');
  same('the login goes out by user name', [last().method, last().path, last().body], ['POST', '/auth/login/2fa', { username: 'alice', password: 'alice-pw' }]);
  same('the code field has the focus, and completes', [await focused(page), await page.getAttribute(field('twofaotp', 'otp'), 'autocomplete'), await page.getAttribute(field('twofaotp', 'otp'), 'inputmode')], ['loginradius-twofaotp-otp', 'one-time-code', 'numeric']);
  const [answer] = (await got(page)).success[0];
  same('onSuccess gets the challenge without a token', [answer.SecondFactorAuthentication.OTPPhoneNo, 'access_token' in answer], ['XXXXXXXX56', false]);
  same('the token of the login is in the storage of the tab', await kept(page), [{ lr2fatok: answer.SecondFactorAuthentication.SecondFactorAuthenticationToken }, {}]);
  same('a verified number is not changed here', await page.locator('#loginradius-button-changenumber').count(), 0);
  await step('code');

  await page.fill(field('twofaotp', 'otp'), '000000');
  await page.press(field('twofaotp', 'otp'), 'Enter');
  same('a wrong code is said', await alert(page, 'twofaotp-otp'), 'Invalid OTP Code');
  await step('code-wrong');
  await page.click('#loginradius-button-resendotp');
  await page.locator('[role=status]:not(:empty)').waitFor();
  same('another code is asked for', [last().method, last().path, last().query.secondfactorauthenticationtoken], ['GET', '/auth/login/2fa/resend', answer.SecondFactorAuthentication.SecondFactorAuthenticationToken]);
  same('and said, with the field ready', [await page.innerText('[role=status]'), await focused(page), await page.getAttribute(field('twofaotp', 'otp'), 'aria-invalid')], ['A new code was sent.', 'loginradius-twofaotp-otp', null]);
  await step('code-again');
  await page.fill(field('twofaotp', 'otp'), ' 123456 ');
  await page.click('#loginradius-submit-verify');
  await says(page, 'in as uid-of-alice');
  same('the code went out as it was meant', [last().method, last().path, last().body], ['PUT', '/auth/login/2fa/verification/otp', { otp: '123456' }]);
  const [signed] = (await got(page)).success[1];
  same('onSuccess gets the tokens', [Boolean(signed.access_token), signed.Profile.Uid], [true, 'uid-of-alice']);
  same('only the user\'s token is left', await kept(page), [{ LRTokenKey: signed.access_token, 'lr-user-uid': 'uid-of-alice' }, {}]);
  same('nothing is left to be sent twice', await page.locator('#login-container *').count(), 0);
});

await scenario('no number', {}, async (page, step) => {
  await password(page, 'bob');
  await page.waitForSelector('form[name=loginradius-updatePhone]');
  same('the number form comes first', [await focused(page), await page.getAttribute(field('updatePhone', 'phoneNo2FA'), 'autocomplete'), await page.getAttribute(field('updatePhone', 'phoneNo2FA'), 'type')], ['loginradius-updatePhone-phoneNo2FA', 'tel', 'tel']);
  await step('number');
  await page.fill(field('updatePhone', 'phoneNo2FA'), 'home');
  await page.click('#loginradius-submit-update');
  same('a wrong number is said', await alert(page, 'updatePhone-phoneNo2FA'), 'Invalid phone number');
  await step('number-wrong');
  await page.fill(field('updatePhone', 'phoneNo2FA'), '+44 7400 123460');
  await page.press(field('updatePhone', 'phoneNo2FA'), 'Enter');
  await page.waitForSelector('form[name=loginradius-twofaotp]');
  same('the number goes out', [last().method, last().path, last().body], ['PUT', '/auth/login/2fa', { phoneno2fa: '+44 7400 123460' }]);
  same('onSuccess gets the text', Object.keys((await got(page)).success[1][0]), ['AccountSid', 'Sid']);
  same('no backup code for who has none', await page.locator('#loginradius-button-backupcodebutton').count(), 0);
  await step('code-unverified');
  await page.click('#loginradius-button-changenumber');
  await page.waitForSelector('form[name=loginradius-updatePhone]');
  await page.fill(field('updatePhone', 'phoneNo2FA'), '+44 7400 123461');
  await page.press(field('updatePhone', 'phoneNo2FA'), 'Enter');
  await page.fill(field('twofaotp', 'otp'), '123456');
  await page.click('#loginradius-submit-verify');
  await says(page, 'in as uid-of-bob');
  same('the second number counts', state.users.bob.phone, '+447400123461');
});

await scenario('a number that is not proven yet', {}, async (page) => {
  await password(page, 'erin');
  await page.waitForSelector('form[name=loginradius-twofaotp]');
  same('it can be changed', await page.locator('#loginradius-button-changenumber').count(), 1);
  await page.click('#loginradius-button-backupcodebackbutton');
  await page.waitForSelector('form[name=loginradius-login]');
  same('Back leads to the password, and forgets', [await focused(page), await kept(page)], ['loginradius-login-emailid', [{}, {}]]);
});

await scenario('a text that was not sent', {}, async (page, step) => {
  await password(page, 'dave');
  await page.waitForSelector('#loginradius-button-otpauthenticator');
  same('the button has the focus', [await focused(page), await page.inputValue('#loginradius-button-otpauthenticator')], ['loginradius-button-otpauthenticator', 'Verify Identity via SMS']);
  await step('choice');
  state.answer = [403, JSON.stringify({ ErrorCode: 1123, Message: 'You have reached a limit for sending SMS' })];
  await page.click('#loginradius-button-otpauthenticator');
  await page.locator('[role=alert]:not(:empty)').waitFor();
  await step('choice-limited');
  await page.click('#loginradius-button-otpauthenticator');
  await page.waitForSelector('form[name=loginradius-twofaotp]');
  same('the button sends', last().path, '/auth/login/2fa/resend');
});

await scenario('a backup code', {}, async (page, step) => {
  await password(page, 'alice');
  await page.click('#loginradius-button-backupcodebutton');
  await page.waitForSelector('form[name=loginradius-backupcode]');
  same('its field has the focus', await focused(page), 'loginradius-backupcode-backupcode');
  await step('backup-code');
  await page.fill(field('backupcode', 'backupcode'), 'aaaaa-bbbbb');
  await page.press(field('backupcode', 'backupcode'), 'Enter');
  holds('a wrong one is said', (await alert(page, 'backupcode-backupcode')).includes('not valid'));
  await step('backup-code-wrong');
  await page.fill(field('backupcode', 'backupcode'), '6r4b8-94465');
  await page.press(field('backupcode', 'backupcode'), 'Enter');
  await says(page, 'in as uid-of-alice');
  same('it went out', [last().path, last().body], ['/auth/login/2fa/verification/backupcode', { backupcode: '6r4b8-94465' }]);
});

await scenario('too many wrong codes', {}, async (page, step) => {
  await password(page, 'alice');
  for (let i = 1; i <= 3; i++) {
    await page.fill(field('twofaotp', 'otp'), `00000${i}`);
    await page.press(field('twofaotp', 'otp'), 'Enter');
    await page.waitForFunction((n) => window.got.error.length === n, i);
  }
  same('the login begins again and says why', [await alert(page, 'login-password'), await kept(page)], ['Account has been locked', [{}, {}]]);
  await step('locked');
});

await scenario('optional, without a second factor', { options: { twoFactorAuthentication: 'optional' } }, async (page) => {
  await password(page, 'carol');
  await says(page, 'in as uid-of-carol');
  same('the password was enough', calls.length, 1);
});

await scenario('markup from the server', {}, async (page, step) => {
  await password(page, 'mallory', 'x');
  same('is shown as text', await alert(page, 'login-password'), markup);
  await step('markup');
  same('and makes nothing', [await page.locator('#login-container img, #login-container b').count(), await page.title()], [0, 'Payroll']);
});

await scenario('answers that are none', {}, async (page) => {
  const expect = async (answer, want) => {
    await page.evaluate(() => { window.got.error = []; });
    state.answer = answer;
    await password(page, 'alice');
    await page.waitForFunction(() => window.got.error.length === 1);
    const [[{ ErrorCode, Message }]] = (await got(page)).error;
    same(`${answer[0]} ${answer[1].slice(0, 30)}`, [ErrorCode, Message], want);
  };
  await expect([200, '<html>'], [1000, 'The server gave no answer']);
  await expect([200, 'null'], [1000, 'The server gave no answer']);
  await expect([204, ''], [1000, 'The server gave no answer']);
  await expect([403, '{}'], [1000, 'The server gave no answer']);
  await expect([200, '{}'], [1000, 'The server gave no answer']);
  await expect([403, '{"access_token":"00000000-0000-4000-8000-0000000000aa"}'], [1000, 'The server gave no answer']);
  await expect([429, 'slow down'], [429, 'Too many requests']);
  await expect([200, '{"ErrorCode":950,"Message":"Operation failed"}'], [950, 'Operation failed']);
  same('a fault of the server marks no field', await page.getAttribute(field('login', 'password'), 'aria-invalid'), null);
});

await scenario('names', { options: { stayLogin: true, phoneLogin: false } }, async (page, step) => {
  const sent = async (name) => {
    const n = calls.length;
    await password(page, name, 'x');
    await page.waitForFunction((m) => window.got.error.length === m, n + 1);
    return last().body;
  };
  await step('login-stay');
  same('an address', await sent('alice@example.com'), { email: 'alice@example.com', password: 'x', stayLogin: false });
  await page.check(field('login', 'stayLogin'));
  same('a phone', await sent('+44 7400 123456'), { phone: '+44 7400 123456', password: 'x', stayLogin: true });
  same('a user name of digits', (await sent('4711471147')).username, '4711471147');
});

await scenario('the settings', { path: '/settings', user: 'alice', options: { twoFactorAuthentication: undefined, optionalTwoFactorAuthentication: true } }, async (page, step) => {
  const button = '#authentication-container input[type=button]';
  await page.waitForSelector(button);
  same('one button', await page.locator(button).evaluateAll((all) => all.map((b) => b.value)), ['2-Step Verification']);
  await step('settings');
  await page.click(button);
  await page.waitForSelector('#loginradius-button-changenumber');
  same('what a verified user can do', await page.locator(button).evaluateAll((all) => all.map((b) => b.value)), ['Change Number', 'Disable SMS Verification', 'Back']);
  same('the token travels in a header', [last().headers.authorization, 'access_token' in last().query], ['Bearer 00000000-0000-4000-8000-0000000000aa', false]);
  await step('settings-verified');

  await page.click('#loginradius-button-changenumber');
  await page.waitForSelector('form[name=loginradius-updatePhone2FA]');
  await step('settings-number');
  await page.fill(field('updatePhone2FA', 'phoneNo2FA'), '+44 7400 123499');
  await page.click('#loginradius-submit-update');
  await says(page, 'An OTP has been sent.');
  same('the number goes out', [last().method, last().path, last().body], ['PUT', '/auth/account/2fa', { phoneno2fa: '+44 7400 123499' }]);
  await step('settings-code');
  await page.click('#loginradius-button-resendotp');
  await page.locator('[role=status]:not(:empty)').first().waitFor();
  same('another code for the same number', [last().method, last().path, last().body], ['PUT', '/auth/account/2fa', { phoneno2fa: '+44 7400 123499' }]);
  await page.fill(field('twofaotp', 'otp'), '123456');
  await page.press(field('twofaotp', 'otp'), 'Enter');
  await says(page, 'Verified successfully.');
  same('the new number counts', [last().path, state.users.alice.phone], ['/auth/account/2fa/verification/otp', '+447400123499']);
  same('the button is back, with the focus', await focused(page), 'loginradius-button-createtwofactorauthentication');

  await page.click(button);
  await page.click('#loginradius-button-disableotpauthenticator');
  await says(page, 'Disabled successfully.');
  same('the factor is reset', [last().method, last().path, last().body, state.users.alice.verified], ['DELETE', '/auth/account/2fa/authenticator', { otpauthenticator: true }, false]);
  same('onSuccess gets its name', (await got(page)).success.at(-1), [{ IsDeleted: true }, 'otpauthenticator']);
  await page.click(button);
  await page.waitForSelector('#loginradius-button-otpauthenticator');
  same('then there is a number to give', await page.locator(button).evaluateAll((all) => all.map((b) => b.value)), ['Verify Identity via SMS', 'Back']);
  await page.click('#loginradius-button-backupcodebackbutton');
  same('and a way back', await page.locator(button).evaluateAll((all) => all.map((b) => b.value)), ['2-Step Verification']);

  await page.click('#loginradius-button-generatebackupcodebutton');
  await says(page, '6r4b8-94465 a1b2c-3d4e5');
  await page.click('#loginradius-button-generatebackupcodebutton');
  await page.locator('#backupcodebutton-container [role=alert]:not(:empty)').waitFor();
  same('codes are made once', (await got(page)).error.at(-1)[0].ErrorCode, 1127);
  await step('backup-codes');
  await page.click('#loginradius-button-resetbackupcode');
  await says(page, '99999-11111');
});

await scenario('the settings where the factor is required', { path: '/settings', user: 'alice' }, async (page) => {
  await page.click('#loginradius-button-createtwofactorauthentication');
  await page.waitForSelector('#loginradius-button-changenumber');
  same('it cannot be taken away', await page.locator('#loginradius-button-disableotpauthenticator').count(), 0);
  state.access.clear();
  await page.click('#loginradius-button-changenumber');
  await page.fill(field('updatePhone2FA', 'phoneNo2FA'), '+44 7400 123499');
  await page.click('#loginradius-submit-update');
  await page.locator('#authentication-container [role=alert]:not(:empty)').waitFor();
  same('a token that has ended is forgotten', [(await got(page)).error[0][0].ErrorCode, await kept(page)], [905, [{}, {}]]);
  await page.click('#loginradius-button-createtwofactorauthentication');
  await page.waitForFunction(() => window.got.error.length === 2);
  same('and nothing asked without one', [(await got(page)).error[1][0].ErrorCode, calls.length], [905, 2]);
});

await scenario('a second factor that was proven long ago', { path: '/settings', user: 'alice', options: { optionalTwoFactorAuthentication: true } }, async (page, step) => {
  const long = () => { state.users.alice.stale = true; };
  const again = async (what) => {
    await page.locator('[role=status]:not(:empty)').waitFor();
    same('the user is asked for a code', [await page.innerText('[role=status]'), last().method, last().path, last().query.for], ['To go on, enter the code that was just sent to your number.', 'GET', '/auth/account/reauth/2fa', what]);
    await page.fill(field('twofaotp', 'otp'), '123456');
    await page.press(field('twofaotp', 'otp'), 'Enter');
  };
  long();
  await page.click('#loginradius-button-createtwofactorauthentication');
  await page.click('#loginradius-button-changenumber');
  await page.fill(field('updatePhone2FA', 'phoneNo2FA'), '+44 7400 123499');
  await page.click('#loginradius-submit-update');
  await page.locator('[role=status]:not(:empty)').waitFor();
  await step('settings-again');
  await page.fill(field('twofaotp', 'otp'), '000000');
  await page.press(field('twofaotp', 'otp'), 'Enter');
  same('a wrong code is said', await alert(page, 'twofaotp-otp'), 'Invalid OTP Code');
  await page.click('#loginradius-button-resendotp');
  await page.locator('[role=status]:not(:empty)').waitFor();
  same('another one comes', [last().path, last().query.for], ['/auth/account/reauth/2fa', 'number']);
  await page.fill(field('twofaotp', 'otp'), '123456');
  await page.press(field('twofaotp', 'otp'), 'Enter');
  await says(page, 'An OTP has been sent.');
  same('then the number goes out', [last().path, last().body], ['/auth/account/2fa', { phoneno2fa: '+44 7400 123499' }]);
  await page.fill(field('twofaotp', 'otp'), '123456');
  await page.press(field('twofaotp', 'otp'), 'Enter');
  await says(page, 'Verified successfully.');
  long();
  await page.click('#loginradius-button-generatebackupcodebutton');
  await again('codes');
  await says(page, '6r4b8-94465 a1b2c-3d4e5');
  long();
  await page.click('#loginradius-button-createtwofactorauthentication');
  await page.click('#loginradius-button-disableotpauthenticator');
  await again('remove');
  await says(page, 'Disabled successfully.');
  same('nobody was told of an error but the wrong code', (await got(page)).error.map((e) => e[0].ErrorCode), [1067]);
});

await scenario('options', { options: {
  smsTemplate2FA: 'code', smsTemplate2FAWelcome: 'welcome', maskSensitiveInput: true, disableResendOTPButton: true, disableResendOTPButtonDelay: 1,
  projectionFields: { login: ['Profile/FirstName'] }, apiPrefix: '/mfa-api', somethingElse: { no: 'matter' },
} }, async (page) => {
  await password(page, 'alice');
  await page.waitForSelector('form[name=loginradius-twofaotp]');
  same('the template', last().query.smstemplate2fa, 'code');
  holds('the fields, and what is needed', ['Profile/FirstName', 'access_token', 'SecondFactorAuthentication/OTPStatus'].every((f) => last().query.fields.split(',').includes(f)), last().query.fields);
  same('the code is masked', await page.getAttribute(field('twofaotp', 'otp'), 'type'), 'password');
  await page.click('#loginradius-button-resendotp');
  await page.locator('#loginradius-button-resendotp:disabled').waitFor();
  same('the button waits', [last().query.smstemplate2fa, await focused(page)], ['code', 'loginradius-twofaotp-otp']);
  await page.locator('#loginradius-button-resendotp:enabled').waitFor({ timeout: 3000 });
  await page.fill(field('twofaotp', 'otp'), '123456');
  await page.click('#loginradius-submit-verify');
  await says(page, 'in as uid-of-alice');
  same('the template of a welcome', last().query.smstemplate2fa, 'welcome');
});

await scenario('a token in the query', { path: '/settings', user: 'alice', options: { passAccessTokenInHeader: false } }, async (page) => {
  await page.click('#loginradius-button-createtwofactorauthentication');
  await page.waitForSelector('#loginradius-button-changenumber');
  same('for who insists on it', [last().query.access_token, last().headers.authorization], ['00000000-0000-4000-8000-0000000000aa', undefined]);
});

await scenario('another domain', { options: { apiCustomDomain: 'auth.example.com:8443' }, bypassCSP: true }, async (page) => {
  let asked = '';
  await page.route('https://auth.example.com:8443/**', (route) => { asked = new URL(route.request().url()).pathname; return route.abort(); });
  await password(page, 'alice');
  await page.waitForFunction(() => window.got.error.length === 1).catch(() => {});
  same('gets the calls', [asked, (await got(page)).error[0]?.[0].ErrorCode], ['/identity/v2/auth/login/2fa', 1000]);
});

await scenario('the hooks', { prepare: (LRObject) => {
  window.heard = [];
  const hear = (name, ...of) => LRObject.$hooks.register(name, (...args) => window.heard.push([name, ...of.map((i) => args[i])]));
  hear('beforeInit', 0); hear('startProcess', 0); hear('endProcess', 0); hear('afterValidation', 0); hear('eventCalls', 0);
  LRObject.$hooks.register('beforeFormRender', (name, schema) => {
    window.heard.push(['beforeFormRender', name, schema.map((f) => f.name).join()]);
    if (name === 'login') schema[0].display = 'Personnel number';
    if (name === 'twofaotp') LRObject.$hooks.call('setButtonsName', { resendOTP: 'Once more' });
  });
  LRObject.$hooks.register('afterFormRender', (name, schema, prefix, form) => window.heard.push(['afterFormRender', name, form.name, prefix, document.contains(form)]));
  LRObject.$hooks.register('modifyXhrRequest', (action, xhr, url) => { xhr.setRequestHeader('X-Origin-IP', '192.0.2.1'); window.heard.push(['modifyXhrRequest', action, new URL(url).pathname]); });
  LRObject.$hooks.call('setButtonsName', { login: 'Sign in', twofaotp: 'Check' });
  LRObject.$hooks.call('customizeFormLabel', { password: 'Secret', otp: 'Code sent to %value', otpsent: '<b>Sent</b>' });
  LRObject.$hooks.call('customizeFormPlaceholder', { password: 'Your secret' });
  LRObject.$hooks.call('mapErrorMessages', [{ code: 966, message: 'That is wrong', description: 'Name or secret is wrong' }]);
  LRObject.$hooks.call('mapErrorMessages', { code: 1067, message: 'Wrong code' });
  LRObject.$hooks.call('mapValidationMessages', [{ rule: 'required', message: '%s is missing' }, { rule: 'required#password', message: 'No %s, no entry' }]);
  LRObject.$hooks.call('addEventOnElement', {
    'loginradius-login-emailid': { event: 'click', eventCallback: () => window.heard.push(['click']) },
    'loginradius-login-password': [{ event: 'change', eventCallback: () => window.heard.push(['change']) }, { event: 'focus', eventCallback: () => window.heard.push(['focus']) }],
  });
} }, async (page) => {
  const heard = () => page.evaluate(() => window.heard.splice(0));
  await page.waitForSelector('form');
  same('before and after the form', await heard(), [['beforeInit', 'login'], ['beforeFormRender', 'login', 'emailid,password'], ['afterFormRender', 'login', 'loginradius-login', 'loginradius-', true]]);
  same('texts', [await page.locator('label').allInnerTexts(), await page.getAttribute(field('login', 'password'), 'placeholder'), await page.inputValue('#loginradius-submit-login')], [['Personnel number', 'Secret'], 'Your secret', 'Sign in']);
  await page.click('#loginradius-submit-login');
  same('empty fields', [await alert(page, 'login-emailid'), await alert(page, 'login-password'), await heard()], ['Personnel number is missing', 'No Secret, no entry', [['afterValidation', 'login']]]);
  await page.click(field('login', 'emailid'));
  await password(page, 'alice', 'wrong');
  same('errors by number', [await alert(page, 'login-password'), (await got(page)).error[0][0].Description], ['That is wrong', 'Name or secret is wrong']);
  const all = (await heard()).map((h) => h.join(' '));
  for (const h of ['click', 'focus', 'change', 'eventCalls login', 'startProcess login', 'modifyXhrRequest login /identity/v2/auth/login/2fa', 'endProcess login']) holds(h, all.includes(h), all.join('; '));
  holds('in their order', all.indexOf('startProcess login') < all.indexOf('modifyXhrRequest login /identity/v2/auth/login/2fa') && all.indexOf('modifyXhrRequest login /identity/v2/auth/login/2fa') < all.indexOf('endProcess login'));
  same('a header of the page', last().headers['x-origin-ip'], '192.0.2.1');
  await password(page, 'alice');
  await page.waitForSelector('form[name=loginradius-twofaotp]');
  same('the number in the label', [await page.innerText('label'), await page.inputValue('#loginradius-submit-verify'), await page.inputValue('#loginradius-button-resendotp')], ['Code sent to XXXXXXXX56', 'Check', 'Once more']);
  await page.click('#loginradius-button-resendotp');
  await page.locator('[role=status]:not(:empty)').waitFor();
  same('texts of the page are text as well', await page.innerText('[role=status]'), '<b>Sent</b>');
  await page.fill(field('twofaotp', 'otp'), '000000');
  await page.click('#loginradius-submit-verify');
  same('a message alone', [await alert(page, 'twofaotp-otp'), (await got(page)).error[1][0].Description], ['Wrong code', 'Wrong code']);
});

await scenario('another language', { prepare: (LRObject) => LRObject.$hooks.call('setLocaleBasedInfo', {
  labels: { emailid: 'Courriel', password: 'Mot de passe' }, placeholders: { emailid: 'Entrez votre courriel.' }, buttonsName: { login: 'Connexion' },
  validationMessages: [{ rule: 'required', message: 'Le champ %s est requis.' }], errorMessages: [{ code: 966, message: 'Mot de passe incorrect.' }],
}) }, async (page, step) => {
  await page.waitForSelector('form');
  await page.click('#loginradius-submit-login');
  same('all of it', [await alert(page, 'login-emailid'), await page.inputValue('#loginradius-submit-login'), await page.getAttribute(field('login', 'emailid'), 'placeholder')], ['Le champ Courriel est requis.', 'Connexion', 'Entrez votre courriel.']);
  await password(page, 'alice', 'wrong');
  same('errors', await alert(page, 'login-password'), 'Mot de passe incorrect.');
  await step('login-french');
});

await scenario('init', {}, async (page) => {
  const errors = (action, more) => page.evaluate(([a, m]) => new Promise((done) => { LRObject.init(a, { ...m, onError: done }); }), [action, more]);
  for (const action of ['registration', 'socialLogin', 'constructor']) same(`${action} is not there`, (await errors(action, { container: 'login-container' })).map((e) => [e.ErrorCode, e.Message]), [[971, `The action ${action} is not supported`]]);
  same('no container', (await errors('login', { container: 'nowhere' })).map((e) => e.ErrorCode), [971]);
  await page.evaluate(() => {
    document.getElementById('login-container').className = 'place';
    LRObject.init('login', { container: 'place', classPrefix: 'own-' });
  });
  same('a container by class, and a prefix', [await page.locator('#login-container form[name=own-login] #own-login-emailid').count(), await page.locator('[id^=loginradius]').count()], [1, 0]);
  same('options can be read', await page.evaluate(() => [LRObject.options.appName, LRObject.options.twoFactorAuthentication]), ['payroll', true]);
});

await scenario('calls without a form', {}, async (page) => {
  await page.waitForSelector('form');
  await page.evaluate(() => {
    LRObject.api.init(commonOptions);
    window.call = (name, ...args) => new Promise((done) => { LRObject.api[name](...args, (response) => done(['success', response]), (errors) => done(['error', errors])); });
  });
  const call = (name, ...args) => page.evaluate(([n, a]) => window.call(n, ...a), [name, args]);
  same('a code before the password', (await call('twoFAVerifyOTP', { otp: '123456' }))[1][0].ErrorCode, 905);
  const failed = await call('twoFALogin', { email: 'bob@example.com', password: 'no' });
  same('a wrong password', [failed[0], failed[1].length, failed[1][0].ErrorCode], ['error', 1, 966]);
  const [, first] = await call('twoFALogin', { email: 'bob@example.com', password: 'bob-pw' });
  same('the password', [first.SecondFactorAuthentication.IsOTPAuthenticatorVerified, 'access_token' in first, last().body], [false, false, { email: 'bob@example.com', password: 'bob-pw' }]);
  same('the number', Object.keys((await call('twoFAUpdatePhone', { phoneNo2FA: '+44 7400 123460' }))[1]), ['AccountSid', 'Sid']);
  same('once more', [Object.keys((await call('twoFAResendOTP', { phoneNo2FA: '+44 7400 123460' }))[1]), last().path], [['AccountSid', 'Sid'], '/auth/login/2fa/resend']);
  same('a wrong code', (await call('twoFAVerifyOTP', { otp: '000000' }))[1][0].ErrorCode, 1067);
  await page.reload(); // the code may be asked for by another page
  await page.waitForSelector('form');
  await page.evaluate(() => { window.call = (name, ...args) => new Promise((done) => { LRObject.api[name](...args, (response) => done(['success', response]), (errors) => done(['error', errors])); }); });
  const [, second] = await call('twoFAVerifyOTP', { otp: '123456' });
  same('the code', [second.Profile.Uid, await page.evaluate(() => LRObject.storage.getBrowserStorage('LRTokenKey'))], ['uid-of-bob', second.access_token]);
  same('the backup codes', (await call('getBackupCode', second.access_token))[1], { BackUpCodes: ['6r4b8-94465', 'a1b2c-3d4e5'] });
  same('twice', (await call('getBackupCode', second.access_token))[1][0].ErrorCode, 1127);
  same('a foreign token is not the user\'s', [(await call('getBackupCode', 'other'))[1][0].ErrorCode, last().headers.authorization], [905, 'Bearer other']);
  same('and leaves the user\'s where it is', (await kept(page))[0].LRTokenKey, second.access_token);
  same('new backup codes', (await call('resetBackupCode', second.access_token))[1], { BackUpCodes: ['99999-11111'] });
  same('another number', [Object.keys((await call('twoFAUpdatePhone', { phoneNo2FA: '+44 7400 123462' }))[1]), last().path], [['AccountSid', 'Sid'], '/auth/account/2fa']);
  same('its code once more', [(await call('twoFAResendOTP', { phoneNo2FA: '+44 7400 123462' }))[0], last().method, last().path], ['success', 'PUT', '/auth/account/2fa']);
  same('its code', (await call('twoFAVerifyOTP', { otp: '123456' }))[1].Uid, 'uid-of-bob');
  same('another factor', [(await call('resetTwoFactor', 'googleauthenticator'))[1][0].ErrorCode, last().body], [1121, { googleauthenticator: true }]);
  same('the factor', [(await call('resetTwoFactor', 'otpauthenticator'))[1], last().body], [{ IsDeleted: true }, { otpauthenticator: true }]);
  same('the end', [(await call('invalidateToken', second.access_token))[1], await kept(page)], [{ IsPosted: true }, [{}, {}]]);
  same('callbacks may be missing', await page.evaluate(() => LRObject.api.twoFALogin({})), undefined);
});

await scenario('without storage', { prepare: () => Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('denied', 'SecurityError'); } }) }, async (page) => {
  await password(page, 'alice');
  await page.fill(field('twofaotp', 'otp'), '123456');
  await page.press(field('twofaotp', 'otp'), 'Enter');
  await says(page, 'in as uid-of-alice');
});

await scenario('the keyboard alone', {}, async (page) => {
  await page.waitForSelector('form');
  const type = async (text, ...keys) => {
    await page.keyboard.type(text);
    for (const key of keys) await page.keyboard.press(key);
  };
  await page.keyboard.press('Tab');
  await type('bob', 'Tab');
  await type('bob-pw', 'Tab', 'Enter');
  await page.waitForSelector('form[name=loginradius-updatePhone]');
  await type('nonsense', 'Enter');
  await alert(page, 'updatePhone-phoneNo2FA');
  await page.keyboard.press('Control+A');
  await type('+44 7400 123460', 'Enter');
  await page.waitForSelector('form[name=loginradius-twofaotp]');
  await page.keyboard.press('Tab');
  same('the order of the buttons', [await focused(page)], ['loginradius-submit-verify']);
  for (const id of ['resendotp', 'changenumber', 'backupcodebackbutton']) {
    await page.keyboard.press('Tab');
    same('then', await focused(page), `loginradius-button-${id}`);
  }
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Space');
  await page.locator('[role=status]:not(:empty)').waitFor();
  await type('123456', 'Enter');
  await says(page, 'in as uid-of-bob');
});

await scenario('two clicks', {}, async (page) => {
  await page.fill(field('login', 'emailid'), 'alice');
  await page.fill(field('login', 'password'), 'alice-pw');
  await page.evaluate(() => { const b = document.getElementById('loginradius-submit-login'); b.click(); b.click(); });
  await page.waitForSelector('form[name=loginradius-twofaotp]');
  same('are one call', calls.length, 1);
});

// The policy is in force, or nothing of the above was held against it.
{
  const page = await browser.newPage();
  await page.addInitScript(() => { window.violations = []; document.addEventListener('securitypolicyviolation', (e) => window.violations.push(e.violatedDirective)); });
  await page.goto(`${fake.url}/login`);
  await page.evaluate(() => document.body.setAttribute('style', 'color: red'));
  await page.waitForFunction(() => window.violations.length > 0, null, { timeout: 5000 }).catch(() => {});
  now = 'the policy';
  same('refuses a style', await page.evaluate(() => window.violations), ['style-src-attr']);
}

await browser.close();
fake.stop();
end();
