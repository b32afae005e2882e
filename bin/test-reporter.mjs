// A vitest reporter that counts for bin/test.mjs, file by file: how many tests passed, which failed, and which were skipped and why.
import { writeFileSync } from 'node:fs';

export default class CountingReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const files = {};
    for (const module of modules) {
      const counts = { path: module.moduleId, passed: 0, failures: [], skips: [] };
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') counts.passed++;
        else if (result.state === 'failed') counts.failures.push(test.fullName);
        else counts.skips.push(`${test.fullName}: ${result.note ?? 'no reason given'}`);
      }
      // A file that does not load, or whose parts do not start, has no tests to fail.
      if (counts.failures.length === 0 && module.state() === 'failed') counts.failures.push('the file itself');
      files[module.relativeModuleId ?? module.moduleId] = counts;
    }
    if (process.env.MERIT_TEST_COUNTS !== undefined)
      writeFileSync(process.env.MERIT_TEST_COUNTS, JSON.stringify({ files, unhandled: unhandledErrors.length }));
  }
}
