// Signs in by LoginRadius' browser interface to an application behind the gate, and
// sets the second factor, with the gate's own script and API. The pages that show the
// interface are those of the stand-in, at the gate's address.
//
//   node loginradius-gate.mjs URL KEY required|optional PHONES PICTURES
import { check, end, launch, phones, pictures } from './chromium.mjs';
import { files, policy } from './loginradius-fake.mjs';
import { looker } from './look.mjs';

const [url, apiKey, wanted, phonesAddress, folder] = process.argv.slice(2);
const look = looker(pictures(folder));
const browser = await launch();
const texts = phones(phonesAddress);
const code = async (user) => (await texts()).codes[user];
const options = `?${encodeURIComponent(JSON.stringify({ apiKey, twoFactorAuthentication: wanted, projectionFields: { login: ['Profile/UserName'] } }))}`;

let visits = 0;
const visit = async () => {
  // The same login from the same browser, twice in a minute, is a double click to the gate.
  const context = await browser.newContext({ viewport: { width: 320, height: 640 }, userAgent: `visitor-${++visits}` });
  await context.route((address) => address.pathname.startsWith('/lr/') || ['/login.js', '/settings.js', '/page.css'].includes(address.pathname), (route) => {
    const [type, body] = files[new URL(route.request().url()).pathname.replace(/^\/lr/, '')];
    return route.fulfill({ body, headers: { 'Content-Type': `${type}; charset=utf-8`, 'Content-Security-Policy': policy } });
  });
  const page = await context.newPage();
  page.setDefaultTimeout(10000);
  await page.addInitScript(() => { window.violations = []; document.addEventListener('securitypolicyviolation', (e) => window.violations.push(e.violatedDirective)); });
  return page;
};
const field = (form, name) => `#loginradius-${form}-${name}`;
const open = (page, name) => page.goto(`${url}/lr/${name}${options}`);
const enter = async (page, selector, text) => { await page.fill(selector, text); await page.press(selector, 'Enter'); };
const password = async (page, user, secret) => {
  await page.fill(field('login', 'emailid'), user);
  await enter(page, field('login', 'password'), secret);
};
const alert = (page, id) => page.locator(`#validation-loginradius-${id}:not(:empty)`).innerText();
const says = (page, what, text) => page.waitForFunction((t) => document.getElementById('says').textContent.match(t), text).then(() => check(what, true), async () => check(what, false, await page.innerText('body')));
// The second factor once more, before a change.
const again = async (page, user, what) => {
  await page.locator('[role=status]:not(:empty)').waitFor();
  check(`${what}: a code is asked for first`, (await page.innerText('[role=status]')).includes('enter the code'));
  await enter(page, field('twofaotp', 'otp'), await code(user));
};
const inside = async (page, user, want = true) => {
  await page.goto(`${url}/report/5`);
  check(`${user} is ${want ? '' : 'not '}in the application`, (await page.content()).includes(`SECRET-PAYROLL of ${user}`) === want);
};
const clean = async (page) => check('nothing against the policy', (await page.evaluate(() => window.violations)).length === 0);

if (wanted === 'required') {
  const page = await visit();
  await open(page, 'login');
  await password(page, 'alice', 'wrong');
  check('a wrong password is said', (await alert(page, 'login-password')) === 'Invalid user ID and/or password');
  check('and sends nothing', (await texts()).sent === 0);
  await password(page, 'alice', 'Alice-pw-1');
  await enter(page, field('updatePhone', 'phoneNo2FA'), '+33 6 12 34 56 78');
  check('a foreign number is refused', Boolean(await alert(page, 'updatePhone-phoneNo2FA')));
  await enter(page, field('updatePhone', 'phoneNo2FA'), '+44 7400 123456');
  await page.waitForSelector(field('twofaotp', 'otp'));
  await page.click('#loginradius-button-resendotp');
  check('too soon for another text', Boolean(await alert(page, 'twofaotp-otp')));
  const right = await code('alice');
  await enter(page, field('twofaotp', 'otp'), right === '000000' ? '000001' : '000000');
  await page.waitForFunction(() => document.querySelector('[aria-invalid]'));
  check('a wrong code is said', (await alert(page, 'twofaotp-otp')) === 'Invalid OTP Code');
  await clean(page);
  await inside(page, 'alice', false);

  // From the beginning, in another browser.
  const other = await visit();
  await open(other, 'login');
  await password(other, 'alice', 'Alice-pw-1');
  await enter(other, field('updatePhone', 'phoneNo2FA'), '+44 7400 123456');
  await other.waitForSelector(field('twofaotp', 'otp'));
  await enter(other, field('twofaotp', 'otp'), await code('alice'));
  await says(other, 'the page is told that alice is in', '^in as [0-9a-f]{32}$');
  await clean(other);
  await inside(other, 'alice');

  await open(other, 'settings');
  await other.click('#loginradius-button-createtwofactorauthentication');
  await other.waitForSelector('#loginradius-button-changenumber');
  check('a required factor stays', await other.locator('#loginradius-button-disableotpauthenticator').count() === 0);
  await other.click('#loginradius-button-changenumber');
  await enter(other, field('updatePhone2FA', 'phoneNo2FA'), '+44 7400 654321');
  await again(other, 'alice', 'another number');
  await says(other, 'a text goes to the new number', '^An OTP has been sent');
  await enter(other, field('twofaotp', 'otp'), await code('bob'));
  await says(other, 'the new number is proven', '^Verified');
  await other.click('#loginradius-button-generatebackupcodebutton');
  await again(other, 'bob', 'backup codes');
  await says(other, 'backup codes', '^([a-z0-9]{5}-?)+ ');
  const backup = (await other.innerText('#says')).split(' ')[0];
  await clean(other);

  const third = await visit();
  await open(third, 'login');
  await password(third, 'alice', 'Alice-pw-1');
  await third.click('#loginradius-button-backupcodebutton');
  await enter(third, field('backupcode', 'backupcode'), 'aaaaa-bbbbb');
  check('a wrong backup code is said', Boolean(await alert(third, 'backupcode-backupcode')));
  await look(third, 'gate-backup-code');
  await enter(third, field('backupcode', 'backupcode'), backup);
  await says(third, 'a backup code is enough', '^in as ');
  await inside(third, 'alice');
} else {
  const page = await visit();
  await open(page, 'login');
  await password(page, 'alice', 'Alice-pw-1');
  await says(page, 'the password is enough for who has no number', '^in as ');
  await inside(page, 'alice');
  await open(page, 'settings');
  await page.click('#loginradius-button-createtwofactorauthentication');
  await page.click('#loginradius-button-otpauthenticator');
  await enter(page, field('updatePhone2FA', 'phoneNo2FA'), '+44 7400 123456');
  await says(page, 'a text goes to the number', '^An OTP has been sent');
  await enter(page, field('twofaotp', 'otp'), await code('alice'));
  await says(page, 'the number is proven', '^Verified');
  await page.click('#loginradius-button-createtwofactorauthentication');
  await page.waitForSelector('#loginradius-button-disableotpauthenticator');

  const other = await visit();
  await open(other, 'login');
  await password(other, 'alice', 'Alice-pw-1');
  await other.waitForSelector(field('twofaotp', 'otp'));
  await enter(other, field('twofaotp', 'otp'), await code('alice'));
  await says(other, 'the next login asks for the code', '^in as ');
  await open(other, 'settings');
  await other.click('#loginradius-button-createtwofactorauthentication');
  await other.click('#loginradius-button-disableotpauthenticator');
  await again(other, 'alice', 'no factor');
  await says(other, 'the factor can be taken away', '^Disabled');
  await clean(other);
}
await browser.close();
end();
