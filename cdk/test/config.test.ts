/** Values that cannot be used are named in one line, together with what would be right. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError, readConfig } from '../lib/config.ts';

const refusals: [context: Record<string, string>, says: RegExp][] = [
  [{ stage: '' }, /`stage` is missing.*STAGE=poc/],
  [{ stage: 'My Stage' }, /`stage` is `My Stage`/],
  [{ stage: 'x'.repeat(21) }, /`stage` is `x+`: it takes 1 to 20/],
  [{ auth: 'cognito' }, /`auth` is `cognito`: it is one of none, iam/],
  [{ web: 'yes' }, /`web` is `yes`: it is one of true, false/],
  [{ web: 'true', auth: 'iam' }, /`web` is `true` and `auth` is `iam`: the page has no credentials/],
  [{ arch: 'x86' }, /`arch` is `x86`: it is one of arm64, x86_64/],
  [{ allowedOrigins: 'https://a.example/' }, /`allowedOrigins` has `https:\/\/a.example\/`/],
  [{ allowedOrigins: 'https://a.example, b.example' }, /`allowedOrigins` has `b.example`/],
  [{ retentionDays: '8' }, /`retentionDays` is `8`.* 7, 14, /],
  [{ retentionDays: 'a week' }, /`retentionDays` is `a week`/],
  [{ alarmEmail: 'me' }, /`alarmEmail` is `me`/],
  [{ endpoint: 'localhost:4566' }, /`endpoint` is `localhost:4566`/],
  [{ retentiondays: '7' }, /no context value `retentiondays`; there are: .*retentionDays/],
];

for (const [context, says] of refusals) {
  test(`refused: ${JSON.stringify(context).slice(0, 60)}`, () => {
    assert.throws(
      () => readConfig({ stage: 'poc', ...context }),
      (error) => {
        assert(error instanceof ConfigError);
        assert.match(error.message, says);
        assert(!error.message.includes('\n'));
        return true;
      },
    );
  });
}

test('everything but the stage may be left out', () => {
  assert.deepEqual(
    { ...readConfig({ stage: 'poc', '@aws-cdk/core:x': true, 'cli-telemetry': false }) },
    {
      stage: 'poc',
      auth: 'none',
      allowedOrigins: [],
      web: false,
      retentionDays: 30,
      alarmEmail: undefined,
      arch: 'arm64',
      endpoint: undefined,
    },
  );
});

test('origins are separated by commas', () => {
  const config = readConfig({ stage: 'poc', allowedOrigins: 'https://a.example, http://localhost:8000' });
  assert.deepEqual(config.allowedOrigins, ['https://a.example', 'http://localhost:8000']);
});
