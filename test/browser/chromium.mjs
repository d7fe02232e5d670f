// What the walks share: Debian's Chromium, checks, and the phones.
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';

export const launch = (options = {}) => chromium.launch({
  ...options,
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', 
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'], // tests ask nobody else
});

let failed = 0;

// check prints one line; a check that fails makes the walk end with 1.
export function check(what, ok, more = '') {
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${what} ${ok ? '' : more}`);
  if (!ok) failed++;
  return ok;
}

export function end() {
  console.log(failed ? `${failed} checks failed` : 'all checks passed');
  process.exit(failed ? 1 : 0);
}

// leads waits for the page that an action leads to: a click and a key return before
// it is there.
export const leads = (page, action) => Promise.all([page.waitForNavigation({ waitUntil: 'domcontentloaded' }), action()]);

// phones reads what the texts say: { sent: how many, codes: { user: last code } }.
export const phones = (address) => async () => (await fetch(address)).json();

export function pictures(folder) {
  mkdirSync(folder, { recursive: true });
  return (name) => `${folder}/${name}.png`;
}
