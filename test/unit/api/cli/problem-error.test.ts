import { expect, test } from 'vitest';
import { LISTED, problemError } from '../../../../api/cli/client.ts';
import { buildProgram } from '../../../../api/cli/program.ts';

const unknown = (what: string, path?: string) =>
  problemError(404, { code: 'not_found', detail: `there is no such ${what}`, trace_id: 't' }, path);

test('what is not there is told with the command that lists what is', () => {
  expect(unknown('pool', '/v1/pools/x')).toMatchObject({ exitCode: 9, mend: 'see "merit pools ls"', traceId: 't' });
  expect(unknown('pool', '/v1/pools/x/capacity?a=b').mend).toBe('see "merit pools ls"');
  expect(unknown('priority class', '/v1/priority-classes/x').mend).toBe('see "merit priorities ls"');
});

test('what no command lists, and another problem of something that is there, have none', () => {
  expect(unknown('route', '/v1/constructor/x').mend).toBeUndefined();
  expect(unknown('pool').mend).toBeUndefined();
  expect(problemError(404, { code: 'no_log', detail: 'it has no log yet' }, '/v1/jobs/x/logs').mend).toBeUndefined();
  expect(problemError(409, { detail: 'there is no such turn' }, '/v1/pools/x').mend).toBeUndefined();
});

test('each command that is named so is there', () => {
  const program = buildProgram('0', async () => {});
  for (const noun of Object.values(LISTED)) {
    const command = program.commands.find((one) => one.name() === noun);
    expect(
      command?.commands.map((one) => one.name()),
      noun,
    ).toContain('ls');
  }
});
