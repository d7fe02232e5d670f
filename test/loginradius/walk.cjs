// Drives every call of multi-factor authentication by SMS through LoginRadius'
// own client for Node, as it is on the registry.
// node walk.cjs <port> <key> <secret> <where the codes are> <user> <password>
'use strict';
const assert = require('node:assert/strict');
const http = require('node:http');
const https = require('node:https');

const [port, apiKey, apiSecret, phones, user, password] = process.argv.slice(2);
https.globalAgent.defaultPort = Number(port); // its apiDomain takes no port
const config = { apiDomain: 'localhost', apiKey, apiSecret, siteName: 'walk' };
const lr = require('loginradius-sdk')(config);
const mfa = lr.multiFactorAuthenticationApi;
const auth = lr.authenticationApi;
const reauth = lr.reAuthenticationApi;

const FIRST = '+447400123456';
const NEXT = '+447400654321';
const NONE = '00000000-0000-0000-0000-000000000000';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
let calls = 0;
const step = async (name, promise) => {
  calls++;
  try {
    return await promise;
  } catch (e) {
    throw new Error(`${name}: ${JSON.stringify(e)}`);
  }
};
// no is a call that must be refused with this number.
const no = async (code, name, promise) => {
  calls++;
  const answer = await promise.then((a) => ({ went: a }), (e) => e);
  assert.equal(answer.ErrorCode, code, `${name}: ${JSON.stringify(answer)}`);
  assert.ok(answer.Message && answer.Description, name);
};
// code is the code of the last text to a number, once there are more than seen.
const texts = () => new Promise((done, fail) => http.get(phones, (res) => {
  let s = '';
  res.on('data', (c) => { s += c; }).on('end', () => done(JSON.parse(s)));
}).on('error', fail));
const code = async (number) => (await texts())[number].code;
const sent = async (number) => ((await texts())[number] || { sent: 0 }).sent;
const page = (token) => new Promise((done, fail) => https.get({
  hostname: 'localhost', path: '/somewhere', headers: token ? { authorization: `Bearer ${token}` } : {},
}, (res) => {
  let body = '';
  res.on('data', (c) => { body += c; }).on('end', () => done({ status: res.statusCode, body, cookies: res.headers['set-cookie'] }));
}).on('error', fail));

const owed = (answer) => {
  const second = answer.SecondFactorAuthentication;
  assert.match(second.SecondFactorAuthenticationToken, UUID);
  assert.equal(answer.access_token, NONE);
  assert.equal(answer.Profile, null);
  assert.equal(typeof second.IsOTPAuthenticatorVerified, 'boolean');
  return second;
};

(async () => {
  // The first factor by each of the three words, and enrolment.
  await no(966, 'wrong password', mfa.mfaLoginByEmail(user, 'wrong'));
  let second = owed(await step('mfaLoginByEmail', mfa.mfaLoginByEmail(user, password)));
  await no(908, 'a template that is not there', mfa.mfaUpdatePhoneNumber(FIRST, second.SecondFactorAuthenticationToken, 'nope'));
  assert.equal(await sent(FIRST), 0);
  assert.equal(second.IsOTPAuthenticatorVerified, false);
  assert.equal(second.OTPPhoneNo, null);
  await no(1096, 'no number', mfa.mfaUpdatePhoneNumber('12', second.SecondFactorAuthenticationToken));
  let sms = await step('mfaUpdatePhoneNumber', mfa.mfaUpdatePhoneNumber(FIRST, second.SecondFactorAuthenticationToken, 'short'));
  assert.ok(sms.AccountSid && sms.Sid);
  assert.match((await texts())[FIRST].text, /^\d{6} it is\./);
  await no(1104, 'unknown token', mfa.mfaValidateOTPByPhone({ otp: await code(FIRST) }, '32ba53ff-0000-4000-8000-000000000000'));
  let login = await step('mfaValidateOTPByPhone', mfa.mfaValidateOTPByPhone({ otp: await code(FIRST) }, second.SecondFactorAuthenticationToken));
  assert.match(login.access_token, UUID);
  assert.match(login.refresh_token, UUID);
  assert.ok(new Date(login.expires_in) > new Date());
  const uid = login.Profile.Uid;
  assert.match(uid, /^[0-9a-f]{32}$/);
  const first = login.access_token;

  second = owed(await step('mfaLoginByUserName', mfa.mfaLoginByUserName(password, user)));
  assert.equal(second.IsOTPAuthenticatorVerified, true);
  assert.ok(second.OTPStatus.AccountSid);
  assert.ok(!second.OTPPhoneNo.includes('123'));
  await no(1179, 'mfaResendOTP, too soon', mfa.mfaResendOTP(second.SecondFactorAuthenticationToken));
  await no(1250, 'a number is there', mfa.mfaUpdatePhoneNumber(NEXT, second.SecondFactorAuthenticationToken));
  await sleep(10500);
  const before = await sent(FIRST);
  sms = await step('mfaResendOTP', mfa.mfaResendOTP(second.SecondFactorAuthenticationToken));
  assert.ok(sms.AccountSid);
  assert.equal(await sent(FIRST), before + 1);
  await step('mfaValidateOTPByPhone', mfa.mfaValidateOTPByPhone({ otp: await code(FIRST) }, second.SecondFactorAuthenticationToken));
  second = owed(await step('mfaLoginByPhone', mfa.mfaLoginByPhone(password, user)));
  login = await step('mfaValidateOTPByPhone', mfa.mfaValidateOTPByPhone({ otp: await code(FIRST) }, second.SecondFactorAuthenticationToken, 'access_token,Profile(Uid)'));
  assert.deepEqual(login.Profile, { Uid: uid });
  const access = login.access_token;

  // The access token opens the application.
  const seen = await page(access);
  assert.ok(seen.body.includes(`SECRET-PAYROLL of ${user}`), JSON.stringify(seen));
  assert.equal(seen.cookies, undefined);
  assert.ok(!(await page(NONE)).body.includes('SECRET'));
  assert.equal((await step('authValidateAccessToken', auth.authValidateAccessToken(access))).access_token, access);
  assert.equal((await step('getAccessTokenInfo', auth.getAccessTokenInfo(access))).access_token, access);
  assert.equal((await step('getProfileByAccessToken', auth.getProfileByAccessToken(access))).Uid, uid);
  const settings = await step('mfaConfigureByAccessToken', mfa.mfaConfigureByAccessToken(access));
  assert.equal(settings.IsOTPAuthenticatorVerified, true);

  // Backup codes by token, each time after a step-up.
  const stepUp = async () => {
    await reauth.mfaReAuthenticate(access);
    await reauth.mfaReAuthenticateByOTP(access, { otp: await code(FIRST) });
  };
  await no(1143, 'mfaBackupCodeByAccessToken without a step-up', mfa.mfaBackupCodeByAccessToken(access));
  await stepUp();
  let codes = (await step('mfaBackupCodeByAccessToken', mfa.mfaBackupCodeByAccessToken(access))).BackUpCodes;
  assert.equal(codes.length, 10);
  await no(1127, 'mfaBackupCodeByAccessToken again', mfa.mfaBackupCodeByAccessToken(access));
  await stepUp();
  codes = (await step('mfaResetBackupCodeByAccessToken', mfa.mfaResetBackupCodeByAccessToken(access))).BackUpCodes;

  // Step-up.
  const trigger = await step('mfaReAuthenticate', reauth.mfaReAuthenticate(access));
  assert.ok(trigger.OTPStatus.AccountSid);
  let proof = await step('mfaReAuthenticateByOTP', reauth.mfaReAuthenticateByOTP(access, { otp: await code(FIRST) }));
  const valid = await step('verifyMultiFactorOtpReauthentication', reauth.verifyMultiFactorOtpReauthentication({ secondfactorvalidationtoken: proof.SecondFactorValidationToken }, uid));
  assert.equal(valid.IsValid, true);
  await no(1193, 'the proof again', reauth.verifyMultiFactorOtpReauthentication({ secondfactorvalidationtoken: proof.SecondFactorValidationToken }, uid));
  proof = await step('mfaReAuthenticateByBackupCode', reauth.mfaReAuthenticateByBackupCode(access, { backupcode: codes[0] }));
  await step('verifyMultiFactorOtpReauthentication', reauth.verifyMultiFactorOtpReauthentication({ secondfactorvalidationtoken: proof.SecondFactorValidationToken }, uid));
  proof = await step('mfaReAuthenticateByPassword', reauth.mfaReAuthenticateByPassword(access, { password }));
  await step('verifyMultiFactorPasswordReauthentication', reauth.verifyMultiFactorPasswordReauthentication({ secondfactorvalidationtoken: proof.SecondFactorValidationToken }, uid));

  // Another number by token.
  await stepUp();
  sms = await step('mfaUpdatePhoneNumberByToken', mfa.mfaUpdatePhoneNumberByToken(access, NEXT));
  assert.ok(sms.AccountSid);
  const profile = await step('mfaUpdateSetting', mfa.mfaUpdateSetting(access, { otp: await code(NEXT) }));
  assert.equal(profile.Uid, uid);
  await no(906, 'the other session', auth.authValidateAccessToken(first));
  await no(1121, 'mfaResetSMSAuthByToken where it is required', mfa.mfaResetSMSAuthByToken(access, true));

  // The refresh token, once; and the end of the session.
  await no(906, 'a refresh token of an ended session', lr.accountApi.refreshAccessTokenByRefreshToken(NONE));
  second = owed(await step('mfaLoginByEmail', mfa.mfaLoginByEmail(user, password)));
  login = await step('mfaValidateBackupCode', mfa.mfaValidateBackupCode({ backupcode: codes[1] }, second.SecondFactorAuthenticationToken));
  const fresh = await step('refreshAccessTokenByRefreshToken', lr.accountApi.refreshAccessTokenByRefreshToken(login.refresh_token));
  assert.match(fresh.access_token, UUID);
  await no(906, 'the refresh token again', lr.accountApi.refreshAccessTokenByRefreshToken(login.refresh_token));
  assert.equal((await step('authInValidateAccessToken', auth.authInValidateAccessToken(fresh.access_token))).IsPosted, true);
  assert.ok(!(await page(fresh.access_token)).body.includes('SECRET'));
  await no(906, 'authValidateAccessToken', auth.authValidateAccessToken(fresh.access_token));

  // By UID and secret.
  await no(1127, 'mfaBackupCodeByUid', mfa.mfaBackupCodeByUid(uid));
  assert.equal((await step('mfaResetBackupCodeByUid', mfa.mfaResetBackupCodeByUid(uid))).BackUpCodes.length, 10);
  config.apiRequestSigning = true; // this version signs the word "undefined" in place of the address
  await no(902, 'a signature that binds nothing', mfa.mfaResetBackupCodeByUid(uid));
  config.apiRequestSigning = false;
  assert.equal((await step('mfaResetSMSAuthenticatorByUid', mfa.mfaResetSMSAuthenticatorByUid(true, uid))).IsDeleted, true);
  await no(906, 'a session of before the reset', auth.authValidateAccessToken(access));
  second = owed(await step('mfaLoginByEmail', mfa.mfaLoginByEmail(user, password)));
  assert.equal(second.IsOTPAuthenticatorVerified, false);
  console.log(`${calls} calls`);
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
