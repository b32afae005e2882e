import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Row, row } from './harness.ts';

const SCRIPT = fileURLToPath(new URL('./cli.mjs', import.meta.url));

/** The `merit` launcher's own time, by the script that any Node from 20 on can run. */
export async function launcherRows(): Promise<readonly Row[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, '--json']);
  const { ratio, floor, aim, detail } = JSON.parse(stdout) as {
    ratio: number;
    floor: number;
    aim: number;
    detail: string;
  };
  return [
    row({
      what: 'merit --help against node -e 0 of the Node that starts it',
      value: ratio,
      sense: 'at most',
      floor,
      aim,
      detail,
      command: 'npm run bench -- launcher',
    }),
  ];
}
