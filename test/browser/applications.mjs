// How a person uses each application in a browser. What the gate is told about
// them is in test/e2e/apps_test.go.
//
//   page, deep   behind the login
//   marker       is on every page behind the login, and nowhere else;
//                name: where it says who is signed in, shown: what it says
//   form         the application's own login form is there to be filled in
//   login        types name and password and sends the form
//   refused      what a wrong password shows, for applications that say so
//   before       a page with the form that stays open while another window signs
//                in; or after: a page that shows it to somebody who is signed in
//   logout       the application's own way out
//   sessions     its session cookies; cookies: what else may be in the browser
//                beside the gate's handle
//   stays        it never leaves its one page; inside: asks it who is signed in;
//                dialog: it logs in by script, and the code is asked for over
//                its page; bearer: it has tokens and no session cookies
//   cancelled    what it shows to who gives up at the code, where it says so
//   secret       alice's password, where it is another
//   blur         the field that has the focus is drawn otherwise now and then, or
//                another one has it, so that none does in the pictures
//   random       what is another in its addresses at each sign-in
//   complaints   what the page makes of the gate's answers

// Login pages move the focus a moment after they have loaded (WordPress: 200 ms),
// and what is typed then goes into the other field: a person sees it and types again.
const fill = (name, password, button) => async (page, user, secret) => {
  for (let i = 0; i < 10 && (await page.inputValue(name) !== user || await page.inputValue(password) !== secret); i++) {
    await page.fill(name, user);
    await page.fill(password, secret);
  }
  await page.click(button);
};

const fixture = {
  page: '/home', deep: '/deep/page',
  marker: 'text=SECRET-PAYROLL', name: 'p', shown: (user) => `SECRET-PAYROLL of ${user}`,
  form: '[name=user]', login: fill('[name=user]', '[name=password]', 'button'),
  refused: 'text=Wrong name or password',
  before: '/login',
  logout: (page) => page.click('text=Sign out'),
  sessions: /^SID$/, cookies: /^$/,
};

export const applications = {
  wordpress: {
    page: '/wp-admin/tools.php', deep: '/wp-admin/edit.php',
    marker: '#wp-admin-bar-logout', name: '#wp-admin-bar-my-account > a .display-name', shown: (user) => user,
    form: '#user_login', login: fill('#user_login', '#user_pass', '#wp-submit'),
    refused: '#login_error',
    blur: true, // it moves the focus itself, a moment after the page was loaded
    before: '/wp-login.php',
    logout: async (page) => {
      await page.hover('#wp-admin-bar-my-account');
      await page.click('#wp-admin-bar-logout a');
    },
    sessions: /^wordpress(_sec|_logged_in)?_[0-9a-f]{32}$/, cookies: /^(wordpress_test_cookie|wp-settings-\d+|wp-settings-time-\d+)$/,
  },
  dokuwiki: {
    page: '/doku.php?id=start', deep: '/doku.php?id=wiki:syntax',
    marker: 'a[href*="do=logout"]', name: '.user bdi >> nth=1', shown: (user) => user,
    form: '[name=u]', login: fill('[name=u]', '[name=p]', '#dw__login [type=submit]'),
    refused: 'text=Sorry, username or password was wrong.',
    before: '/doku.php?do=login',
    logout: (page) => page.click('#dokuwiki__usertools a[href*="do=logout"]'),
    complaints: /401.*\/lib\/exe\/taskrunner\.php/, // its background jobs hang on a picture, and are not for strangers
    sessions: /^(DokuWiki|DW[0-9a-f]{32})$/, cookies: /^DOKU_PREFS$/,
  },
  django: {
    page: '/admin/', deep: '/admin/auth/user/',
    marker: '#user-tools', name: '#user-tools strong', shown: (user) => user,
    form: '#id_username', login: fill('#id_username', '#id_password', '[type=submit]'),
    refused: '.errornote',
    after: '/accounts/login/',
    logout: (page) => page.click('#user-tools a[href="/admin/logout/"]'),
    sessions: /^sessionid$/, cookies: /^csrftoken$/,
  },
  'apache-auth': {
    page: '/form/', deep: '/form/page2.html',
    marker: 'text=SECRET-PAGE',
    form: '[name=httpd_username]', login: fill('[name=httpd_username]', '[name=httpd_password]', '[type=submit]'),
    before: '/login.html',
    logout: (page) => page.goto('/dologout'), // it has an address and no link
    sessions: /^lform$/, cookies: /^$/,
  },
  deluge: {
    page: '/', deep: '/',
    marker: '.x-btn:not(.x-item-disabled) .icon-logout',
    form: '.x-window [name=password]', login: async (page, _, secret) => {
      await page.fill('.x-window [name=password]', secret);
      await Promise.all([page.waitForResponse('/json'), page.click('.x-window button:has-text("Login")')]);
    },
    refused: 'text=You entered an incorrect password',
    inside: (page) => page.evaluate(async () => (await (await fetch('/json', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"method":"auth.check_session","params":[],"id":1}',
    })).json()).result === true),
    stays: true, dialog: true,
    complaints: /(401|403).*\/json/, // the login without the code, and its polls after the logout
    logout: async (page) => {
      await page.click('.icon-logout');
      await page.locator('.x-window [name=password]').waitFor();
    },
    sessions: /^_session_id$/, cookies: /^$/,
  },
  'node-red': {
    page: '/', deep: '/',
    marker: '.red-ui-tab-label:has-text("SECRET-FLOW")',
    form: '#node-dialog-login-username', login: fill('#node-dialog-login-username', '#node-dialog-login-password', '#node-dialog-login-submit'),
    refused: '#node-dialog-login-failed', cancelled: '#node-dialog-login-failed',
    stays: true, dialog: true, bearer: true,
    logout: async (page) => {
      await page.click('#red-ui-header-button-user');
      await page.click('#usermenu-item-logout');
      await page.locator('#node-dialog-login-username').waitFor();
    },
    sessions: /./, cookies: /^$/,
  },
  pocketbase: {
    page: '/_/', deep: '/_/#/settings',
    marker: '.app-sidebar',
    form: 'form input[type=password]', login: async (page, user, secret) => {
      await page.fill('form input[type=email]', `${user}@example.test`);
      await page.fill('form input[type=password]', secret);
      await page.click('form button[type=submit]');
    },
    refused: 'text=Invalid login credentials.',
    stays: true, dialog: true, bearer: true,
    complaints: /403.*\/auth-with-password/, // the login without the code
    logout: async (page) => {
      await page.click('.app-sidebar .thumb');
      await page.click('text=Logout');
      await page.locator('form input[type=password]').waitFor();
      if ((await page.request.get('/mfa/status')).ok()) { // it only forgets the token
        await page.goto('/mfa');
        await page.click('button');
      }
    },
    sessions: /./, cookies: /^$/,
  },
  adminer: {
    page: '/', deep: '/?username=alice&db=shop&select=orders',
    marker: '#logins, #logout',
    form: '[name="auth[username]"]', login: fill('[name="auth[username]"]', '[name="auth[password]"]', '[value=Login]'),
    // What it says of a wrong password stands on the next page, which the gate has asked for.
    before: '/',
    logout: async (page) => {
      await page.goto('/');
      await page.click('#logins a');
      await page.click('#logout');
    },
    sessions: /^adminer_(sid|permanent|key)$/, cookies: /^adminer_(version|engine|import|export|settings)$/,
  },
  rails: {
    ...fixture, page: '/', deep: '/pages/salaries', name: 'p >> nth=0',
    form: '[name="session[user]"]', login: fill('[name="session[user]"]', '[name="session[password]"]', 'button'),
    before: undefined, // its token belongs to the session, which is not handed on to another user
    sessions: /^_payroll_session$/,
  },
  'latin1-php': {
    ...fixture, page: '/index.php', deep: '/index.php?do=salaries', name: 'p >> nth=0',
    form: '[name="LoginForm[username]"]', login: fill('[name="LoginForm[username]"]', '[name="LoginForm[password]"]', 'button'),
    before: '/index.php?do=login', secret: 'Käse-pw-1',
    sessions: /^LATINSESS$/,
  },
  roundcube: {
    page: '/?_task=mail', deep: '/?_task=settings&_action=identities',
    marker: '#taskmenu, #identities-table', form: '#rcmloginuser', login: fill('#rcmloginuser', '#rcmloginpwd', '#rcmloginsubmit'),
    before: undefined, // its token belongs to the session
    random: /&_token=\w+/,
    logout: async (page) => {
      await page.waitForLoadState('networkidle'); // its script has the buttons work
      await page.click('#taskmenu a.logout');
    },
    sessions: /^roundcube_sess(id|auth)$/, cookies: /^(roundcube_cookies|colorMode|layout.*)$/,
  },
  cacti: {
    page: '/graph_view.php', deep: '/graph_view.php?action=preview',
    marker: '.loggedInAs', form: '#login_username', login: fill('#login_username', '#login_password', '[type=submit]'),
    refused: '.loginErrors:has-text("Access Denied")',
    before: undefined, // its token belongs to the session
    logout: (page) => page.goto('/logout.php'),
    sessions: /^Cacti$/, cookies: /^(CactiColorMode|CactiDateTime|CactiTimeZone|cacti.*)$/i,
  },
  'request-tracker': {
    page: '/', deep: '/',
    marker: '.current-user', name: '.current-user >> nth=0', shown: (user) => user,
    form: '#user', login: fill('#user', '[name=pass]', '[type=submit]'),
    refused: 'text=Your username or password is incorrect',
    blur: true,
    complaints: /403.*\/NoAuth\/Login\.html/, // where it sends who asks for the icon, also while the code is asked for
    before: '/',
    logout: (page) => page.goto('/NoAuth/Logout.html'),
    sessions: /^RT_SID_/, cookies: /^$/,
  },
  'promoted session': fixture,
  'verdict one request later, by identity': { ...fixture, refused: undefined }, // it answers both alike
  'verdict one request later, by next': { ...fixture, refused: undefined },
  'several users in one session': fixture,
};
