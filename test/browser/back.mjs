// Back after signing out, by the application's way and by ours (people P14).
//
//   node back.mjs GATE on|off PHONES PICTURES
//
// The second is the setting browser_cache.
import { check, end, launch, leads, phones } from './chromium.mjs';

const [gate, setting, phonesAddress] = process.argv.slice(2);
// Playwright turns off what Back shows pages from.
const browser = await launch({ ignoreDefaultArgs: ['--disable-back-forward-cache'] });
const texts = phones(phonesAddress);
const shown = async (page) => page.content().catch(() => '');
// A page that Back takes out of memory is not loaded again.
const back = async (page) => {
  await page.goBack({ waitUntil: 'commit' });
  await page.waitForFunction(() => document.readyState === 'complete');
};

for (const [name, leave] of [
  ["the application's", async (page) => page.goto(`${gate}/logout`)],
  ['ours', async (page) => { await page.goto(`${gate}/mfa`); await leads(page, () => page.click('form button')); }],
]) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${gate}/kept`);
  await page.fill('[name=user]', 'alice');
  await page.fill('[name=password]', 'Alice-pw-1');
  await leads(page, () => page.click('button'));
  await page.fill('[name=otp]', (await texts()).codes.alice);
  await leads(page, () => page.press('[name=otp]', 'Enter'));
  check(`P14 ${name}: in`, (await shown(page)).includes('SECRET-PAYROLL'));
  await page.goto(`${gate}/kept?2`);
  await page.goto(`${gate}/report`);
  // From memory Chromium may show the very page that the sign-out was on: it keeps it
  // only after it was told to forget. With the setting it does not.
  if (setting === 'on') await page.goto(`${gate}/mfa`);
  await leave(page);
  check(`P14 ${name}: out`, await page.locator('[name=password]').count() === 1, page.url());
  for (let i = 0; i < 4; i++) {
    await back(page);
    check(`P14 ${name}: ${i + 1} back shows nothing`, !(await shown(page)).includes('SECRET-PAYROLL'), page.url());
  }
  await context.close();
}
await browser.close();
end();
