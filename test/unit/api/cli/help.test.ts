import { expect, test } from 'vitest';
import { buildProgram } from '../../../../api/cli/program.ts';

/** As a terminal of 100 columns without colours shows it. */
const HELP_WIDTH = 100;

test('the help that the launcher prints by itself is what the commands say (bin/help.mjs)', async () => {
  const path: string = new URL('../../../../bin/help.mjs', import.meta.url).href;
  const { HELP } = (await import(path)) as { HELP: string };
  const program = buildProgram('0', async () => {});
  program.configureOutput({ getOutHelpWidth: () => HELP_WIDTH, getOutHasColors: () => false });
  expect(HELP).toBe(program.helpInformation());
});

test('every command loads its module only when it runs, and there is a module for each', async () => {
  const loaded: string[] = [];
  const program = buildProgram('0', async (load) => {
    loaded.push(typeof (await load()).default);
  });
  for (const words of [
    ['ps'],
    ['jobs', 'ls'],
    ['jobs', 'get', 'x'],
    ['jobs', 'verify', 'x'],
    ['why', 'x'],
    ['logs', 'x'],
    ['models', 'ls'],
    ['pools', 'get', 'x'],
    ['doctor'],
    ['audit', 'verify', 'f', '--roots', 'r'],
  ]) {
    await program.parseAsync(['node', 'merit', ...words]);
  }
  expect(loaded).toEqual(Array(10).fill('function'));
});
