export interface Staged {
  readonly env: Readonly<Record<string, string>>;
  readonly files: ReadonlyMap<string, { readonly bytes: Buffer; readonly executable: boolean }>;
}

/** `export NAME='value'`, a quote inside as '\''. */
export function exportsOf(script: string): Readonly<Record<string, string>> {
  const found = script.matchAll(/^export ([A-Za-z_][A-Za-z0-9_]*)=((?:'[^']*'|\\')+)$/gm);
  return Object.fromEntries(
    [...found].map(([, name, text]) => [
      name,
      text!.replaceAll(/'([^']*)'|\\'/g, (_all, inner?: string) => inner ?? "'"),
    ]),
  );
}

/** As `tar -x` reads it, of what Merit writes. */
export function untar(tar: Buffer): Staged['files'] {
  const files = new Map<string, { bytes: Buffer; executable: boolean }>();
  let longName: string | undefined;
  for (let at = 0; at < tar.length && tar[at] !== 0; ) {
    const field = (from: number, length: number) =>
      tar
        .subarray(at + from, at + from + length)
        .toString('utf8')
        .replace(/\0.*$/s, '');
    const size = Number.parseInt(field(124, 12), 8);
    const bytes = tar.subarray(at + 512, at + 512 + size);
    if (field(156, 1) === 'x') longName = /^\d+ path=(.*)\n$/s.exec(bytes.toString('utf8'))?.[1];
    else {
      files.set(longName ?? field(0, 100), { bytes, executable: (Number.parseInt(field(100, 8), 8) & 0o111) !== 0 });
      longName = undefined;
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}
