package sms

// builtin are the texts without configuration. The code comes first, for the
// preview on a locked screen; there is no link; and each fits one GSM-7 segment
// with an application name and a host of 30 characters.
var builtin = map[string]string{
	"en": "{code} is your {app} code. It expires in {minutes} minutes. Never share it.",
	"de": "{code} ist Ihr Code für {app}. Er gilt {minutes} Minuten. Nie weitergeben!",
	"fr": "{code} est votre code {app}. Il expire dans {minutes} minutes. Ne le donnez pas.",
	"es": "{code} es su clave para {app}. Caduca en {minutes} minutos. No la comparta.",
}

// Notice is what an owner of a number is told without having asked.
type Notice string

// The notices.
const (
	Locked    Notice = "locked"    // too many wrong codes
	Changed   Notice = "changed"   // to the old number: codes go elsewhere now
	Added     Notice = "added"     // to the new number
	Removed   Notice = "removed"   // the user has turned the texts off
	Recovered Notice = "recovered" // somebody signed in with a recovery code
	WasReset  Notice = "reset"     // an operator has taken the second factor away
)

// notices fit into one segment, as the codes do.
var notices = map[Notice]map[string]string{
	Locked: {
		"en": "{app}: someone with your password entered too many wrong codes. Sign-in is locked for now. Not you? Change your password.",
		"de": "{app}: Jemand mit Ihrem Passwort gab zu viele falsche Codes ein. Anmeldung vorerst gesperrt. Nicht Sie? Ändern Sie das Passwort.",
		"fr": "{app} : trop de codes faux avec votre mot de passe. Connexion bloquée pour l'instant. Pas vous ? Changez votre mot de passe.",
		"es": "{app}: alguien con su clave dio demasiados datos falsos al entrar. Acceso bloqueado por ahora. Si no fue usted, cambie su clave.",
	},
	Changed: {
		"en": "{app}: your sign-in codes now go to another number. Not you? Tell your help desk at once and change your password.",
		"de": "{app}: Ihre Anmeldecodes gehen jetzt an eine andere Nummer. Nicht Sie? Sofort den Helpdesk informieren und Passwort ändern.",
		"fr": "{app} : vos codes partent maintenant vers un autre numéro. Pas vous ? Prévenez vite l'assistance et changez votre mot de passe.",
		"es": "{app}: sus claves de acceso van ahora a otro teléfono. Si no fue usted, avise a soporte y cambie su clave.",
	},
	Added: {
		"en": "{app}: this number now receives the sign-in codes of an account. Not yours? Tell the help desk.",
		"de": "{app}: Diese Nummer erhält jetzt die Anmeldecodes eines Kontos. Nicht Ihres? Informieren Sie den Helpdesk.",
		"fr": "{app} : les codes d'un compte arrivent maintenant ici. Ce n'est pas votre compte ? Prévenez l'assistance.",
		"es": "{app}: a este teléfono llegan ahora las claves de una cuenta. Si no es la suya, avise a soporte.",
	},
	Removed: {
		"en": "{app}: codes by text were turned off for your account. Not you? Tell your help desk and change your password.",
		"de": "{app}: Codes per SMS wurden für Ihr Konto abgeschaltet. Nicht Sie? Helpdesk informieren und Passwort ändern.",
		"fr": "{app} : les codes par SMS sont coupés pour votre compte. Pas vous ? Prévenez l'assistance et changez votre mot de passe.",
		"es": "{app}: las claves por SMS de su cuenta ya no se usan. Si no fue usted, avise a soporte y cambie su clave.",
	},
	Recovered: {
		"en": "{app}: a recovery code was used to sign in. Not you? Tell your help desk and change your password.",
		"de": "{app}: Ein Ersatzcode wurde zur Anmeldung benutzt. Nicht Sie? Helpdesk informieren und Passwort ändern.",
		"fr": "{app} : un code de secours a servi à se connecter. Pas vous ? Prévenez l'assistance et changez votre mot de passe.",
		"es": "{app}: alguien ha entrado con una clave de reserva. Si no fue usted, avise a soporte y cambie su clave.",
	},
	WasReset: {
		"en": "{app}: the help desk has reset your sign-in codes. Not asked for? Tell them.",
		"de": "{app}: Der Helpdesk hat Ihre Anmeldecodes zurückgesetzt. Nicht gewünscht? Melden Sie sich dort.",
		"fr": "{app} : l'assistance a remis vos codes d'accès à zéro. Pas demandé ? Prévenez-la.",
		"es": "{app}: soporte ha borrado sus claves de acceso por SMS. Si no lo ha pedido, avise.",
	},
}
