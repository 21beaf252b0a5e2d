/**
 * The page (context `web=true`): a private bucket, and CloudFront in front of it. `make deploy` fills the bucket
 * (`scripts/page.py`), with a `config.json` that tells the page where the gateway is.
 *
 * It is served with the headers of `local/src/page.rs`; a test compares the two. It needs the gateway's address, and the
 * functions need its origin: so it is made between them. No alarm: CloudFront has metrics in us-east-1 only, and the page
 * holds nothing that can fall behind.
 */
import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import {
  CachePolicy,
  Distribution,
  HeadersReferrerPolicy,
  HttpVersion,
  ResponseHeadersPolicy,
  S3OriginAccessControl,
  ViewerProtocolPolicy,
} from 'aws-cdk-lib/aws-cloudfront';
import { S3BucketOrigin } from 'aws-cdk-lib/aws-cloudfront-origins';
import { BlockPublicAccess, Bucket, BucketEncryption } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import type { Config } from './config.ts';
import type { Gateway } from './gateway.ts';

/** What the page may do, beside talking to `connect`: `POLICY` of `local/src/page.rs`. */
const policy = (connect: string) =>
  [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    `connect-src 'self' ${connect}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');

export class Web extends Construct {
  readonly bucket: Bucket;
  readonly distribution: Distribution;
  /** What browsers send as `Origin`: `https://d….cloudfront.net`. */
  readonly origin: string;

  constructor(scope: Construct, { stage }: Config, gateway: Gateway) {
    super(scope, 'Web');
    this.bucket = new Bucket(this, 'Page', {
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      encryption: BucketEncryption.S3_MANAGED,
      enforceSSL: true,
      removalPolicy: RemovalPolicy.DESTROY, // `make destroy` empties it first
    });
    // Names of CloudFront's are the account's, not the region's.
    const name = `webchat-${stage}-${Stack.of(this).region}`;
    const common = {
      origin: S3BucketOrigin.withOriginAccessControl(this.bucket, {
        originAccessControl: new S3OriginAccessControl(this, 'Access', { originAccessControlName: name }),
      }),
      viewerProtocolPolicy: ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
      responseHeadersPolicy: this.headers(name, gateway),
    };
    this.distribution = new Distribution(this, 'Distribution', {
      comment: `webchat ${stage}: the page`,
      defaultRootObject: 'index.html',
      // As long as the object says (`s-maxage`): a deployment takes the old ones back.
      defaultBehavior: { ...common, cachePolicy: CachePolicy.CACHING_OPTIMIZED },
      additionalBehaviors: { 'config.json': { ...common, cachePolicy: CachePolicy.CACHING_DISABLED } },
      httpVersion: HttpVersion.HTTP2_AND_3,
    });
    this.origin = `https://${this.distribution.distributionDomainName}`;
    this.acknowledge();
  }

  private headers(name: string, gateway: Gateway): ResponseHeadersPolicy {
    const always = (header: string, value: string) => ({ header, value, override: true });
    return new ResponseHeadersPolicy(this, 'Headers', {
      responseHeadersPolicyName: name,
      securityHeadersBehavior: {
        contentSecurityPolicy: { contentSecurityPolicy: policy(`wss://${gateway.host}`), override: true },
        contentTypeOptions: { override: true },
        referrerPolicy: { referrerPolicy: HeadersReferrerPolicy.NO_REFERRER, override: true },
        // For this one host, which is ours alone. `local` has no TLS to insist on.
        strictTransportSecurity: { accessControlMaxAge: Duration.days(365), override: true },
      },
      customHeadersBehavior: {
        customHeaders: [
          always('cross-origin-opener-policy', 'same-origin'),
          always('cross-origin-resource-policy', 'same-origin'),
        ],
      },
    });
  }

  private acknowledge(): void {
    const because = (id: string, reason: string) =>
      Validations.of(id.startsWith('AwsSolutions-S') ? this.bucket : this.distribution).acknowledge({ id, reason });
    because('AwsSolutions-S1', 'The files are public and the same for everyone; who may connect is logged by the gateway.');
    because('AwsSolutions-CFR1', 'The chat is for whoever may connect, wherever they are.');
    because('AwsSolutions-CFR2', 'Static files without input. A web ACL costs more than the whole page.');
    because('AwsSolutions-CFR3', 'Access logs would collect addresses of readers and answer no question; the gateway logs who connects.');
    because('AwsSolutions-CFR4', "CloudFront's own certificate fixes the oldest TLS version; a domain of one's own would lift it.");
  }
}
