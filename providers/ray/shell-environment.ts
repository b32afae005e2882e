/**
 * Ray expands `$NAME` and `${NAME}` in the values of a job's environment on the node, and deletes `${NAME}` where there is none such
 * (measured on 2.60; there is no escape). So what holds a `$` travels another way and arrives as it was given.
 */
export interface RayEnvironment {
  readonly env: Readonly<Record<string, string>>;
  /** Goes before the entrypoint: a fixed text, or empty where nothing needs it. */
  readonly prefix: string;
}

/** Holds exports as base64 of shell text. Tasks and actors that the job starts through Ray do not have these variables, parameters apart. */
const CARRIER = 'MERIT_SHELL_ENV';
const RESTORE = `eval "$(printf %s "$${CARRIER}" | base64 -d)"; `;
/** JSON, in which a `$` can be written so that no shell sees one. */
const PARAMETERS = 'MERIT_PARAMETERS';

export function rayEnvironment(env: Readonly<Record<string, string>>): RayEnvironment {
  const plain: Record<string, string> = {};
  const exports: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (!value.includes('$')) {
      plain[name] = value;
      continue;
    }
    exports.push(`export ${name}='${value.replaceAll("'", "'\\''")}'`);
    // For tasks and actors too: in JSON a `$` stands only inside texts, where this is the same character.
    if (name === PARAMETERS) plain[name] = value.replaceAll('$', '\\u0024');
  }
  if (exports.length === 0) return { env: plain, prefix: '' };
  const carried = Buffer.from(exports.join('\n'), 'utf8').toString('base64');
  return { env: { ...plain, [CARRIER]: carried }, prefix: RESTORE };
}
