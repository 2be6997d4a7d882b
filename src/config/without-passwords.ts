/** Texts for people and logs: what signs in is not in them. */

/** The text, user and password of every URL in it left out. */
export function withoutPasswords(text: string): string {
  return text.replaceAll(/(\b[a-z][a-z0-9+.-]{1,15}:\/\/)[^\s/?#"]*@/gi, "$1(hidden)@");
}
