<?php
// Everything is compared and shown as bytes, as in the applications that never left their old encoding.
$sjis = basename(__FILE__) === 'sjis.php';
$charset = $sjis ? 'Shift_JIS' : 'ISO-8859-1';
$users = ['alice' => $sjis ? "\x95\x5c\x8e\xa6-pw-1" : "K\xe4se-pw-1", 'bob' => 'Bob-pw-2'];
$self = '/' . basename(__FILE__);
session_name($sjis ? 'SJISSESS' : 'LATINSESS');
session_start();
header("Content-Type: text/html; charset=$charset");
$do = $_GET['do'] ?? 'home';

function page(string $title, string $body): void
{
    echo "<!doctype html><html lang=de><title>$title</title>$body";
    exit;
}

if ($do === 'login') {
    $form = $_POST['LoginForm'] ?? null;
    $wrong = '';
    if (is_array($form) && is_string($form['username'] ?? null) && is_string($form['password'] ?? null)) {
        if (($users[$form['username']] ?? null) === $form['password']) {
            session_regenerate_id(true);
            $_SESSION['user'] = $form['username'];
            header('Location: ' . (str_starts_with($_POST['back'] ?? '', $self) ? $_POST['back'] : $self));
            exit;
        }
        $wrong = $sjis ? "<p>Wrong name or password. \x83\x47\x83\x89\x81\x5b</p>" : "<p>Wrong name or password. Bitte pr\xfcfen.</p>";
    }
    page('Anmelden', "$wrong<form method=post action='$self?do=login'>
<label>Name <input name='LoginForm[username]'></label> <label>Password <input name='LoginForm[password]' type=password></label>
<input type=hidden name=back value='" . htmlspecialchars($_POST['back'] ?? $_GET['back'] ?? '') . "'> <button>Sign in</button></form>");
}
if (!isset($_SESSION['user'])) {
    header("Location: $self?do=login&back=" . rawurlencode($_SERVER['REQUEST_URI']));
    exit;
}
if ($do === 'logout') {
    $_SESSION = [];
    session_regenerate_id(true);
    header("Location: $self?do=login");
    exit;
}
page('Gehalt', "<p>SECRET-PAYROLL of {$_SESSION['user']}</p><p>" . htmlspecialchars($do) . "</p><p>I am {$_SESSION['user']}.</p><a href='$self?do=logout'>Sign out</a>");
