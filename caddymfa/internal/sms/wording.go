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

// notices tell the owner of a number that somebody with the password has used
// up the tries. They too fit one segment.
var notices = map[string]string{
	"en": "{app}: someone with your password entered too many wrong codes. Sign-in is locked for now. Not you? Change your password.",
	"de": "{app}: Jemand mit Ihrem Passwort gab zu viele falsche Codes ein. Anmeldung vorerst gesperrt. Nicht Sie? Ändern Sie das Passwort.",
	"fr": "{app} : trop de codes faux avec votre mot de passe. Connexion bloquée pour l'instant. Pas vous ? Changez votre mot de passe.",
	"es": "{app}: alguien con su clave dio demasiados datos falsos al entrar. Acceso bloqueado por ahora. Si no fue usted, cambie su clave.",
}
