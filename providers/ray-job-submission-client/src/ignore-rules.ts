/** Always left out, at any depth: not part of a job's input. */
export const ALWAYS_IGNORED: readonly string[] = ['.git', 'node_modules', '__pycache__', '.venv'];
/** Read at the folder's root, in this order. */
export const IGNORE_FILES: readonly string[] = ['.gitignore', '.rayignore'];

interface Rule {
  readonly matches: RegExp;
  readonly foldersOnly: boolean;
  readonly keep: boolean;
}

/** Whether a path (relative, forward slashes) is left out. A folder that is left out takes all below it along. */
export type IgnoreTest = (path: string, isFolder: boolean) => boolean;

/**
 * The simple part of .gitignore, one rule a line, the last that matches wins: `name` at any depth, `/name` or `a/b` from the root, `name/`
 * folders only, `*` and `?` within a name, `**` across names, `!` keeps, `#` comments. Character classes are taken literally.
 */
export function ignoreTest(texts: readonly string[]): IgnoreTest {
  const rules = texts.flatMap((text) => text.split(/\r?\n/)).flatMap(ruleOf);
  return (path, isFolder) => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (ALWAYS_IGNORED.includes(name)) return true;
    let ignored = false;
    for (const rule of rules) {
      if (rule.foldersOnly && !isFolder) continue;
      if (rule.matches.test(path)) ignored = !rule.keep;
    }
    return ignored;
  };
}

function ruleOf(line: string): Rule[] {
  let text = line.trim();
  if (text === '' || text.startsWith('#')) return [];
  const keep = text.startsWith('!');
  if (keep) text = text.slice(1);
  const foldersOnly = text.endsWith('/');
  if (foldersOnly) text = text.slice(0, -1);
  const anchored = text.includes('/');
  if (text.startsWith('/')) text = text.slice(1);
  if (text === '') return [];
  return [{ matches: new RegExp(`^${anchored ? '' : '(?:.*/)?'}${patternOf(text)}$`, 's'), foldersOnly, keep }];
}

function patternOf(glob: string): string {
  // Repeated stars first, so that no pattern can be made to match slowly.
  const parts = glob.replace(/\*{3,}/g, '**').split(/(\*\*\/|\*\*|\*|\?)/);
  return parts
    .map((part) => {
      if (part === '**/') return '(?:.*/)?';
      if (part === '**') return '.*';
      if (part === '*') return '[^/]*';
      if (part === '?') return '[^/]';
      return part.replace(/[\\^$.|+()[\]{}]/g, '\\$&');
    })
    .join('');
}
