# A pool of SageMaker training jobs: where they are staged, the role that they run with, and what Merit's own identity may do. The instances are
# SageMaker's, made for each job; how many there may be is the account's quota, which `instances` declares.

terraform {
  required_version = ">= 1.6.0"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 5.40" }
  }
}

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}
data "aws_region" "here" {}

locals {
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.name
  arn       = "arn:${data.aws_partition.here.partition}"
  jobs      = "${local.arn}:sagemaker:${local.region}:${local.account}:training-job"
  log_group = "/aws/sagemaker/TrainingJobs"
  staged    = [for folder in ["code", "runs"] : "${aws_s3_bucket.staging.arn}/${var.prefix}/${folder}/*"]
  written   = [for folder in ["output", "checkpoints"] : "${aws_s3_bucket.staging.arn}/${var.prefix}/${folder}/*"]
}

resource "aws_s3_bucket" "staging" {
  bucket_prefix = "merit-${substr(var.name, 0, 24)}-"
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "staging" {
  bucket                  = aws_s3_bucket.staging.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "staging" {
  bucket = aws_s3_bucket.staging.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

# Merit deletes nothing that it staged.
resource "aws_s3_bucket_lifecycle_configuration" "staging" {
  bucket = aws_s3_bucket.staging.id
  dynamic "rule" {
    for_each = toset(["code", "runs"])
    content {
      id     = "expire-${rule.value}"
      status = "Enabled"
      filter {
        prefix = "${var.prefix}/${rule.value}/"
      }
      expiration {
        days = var.staged_days
      }
      abort_incomplete_multipart_upload {
        days_after_initiation = 7
      }
    }
  }
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["sagemaker.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role" "jobs" {
  name_prefix        = "merit-${substr(var.name, 0, 24)}-"
  assume_role_policy = data.aws_iam_policy_document.trust.json
  tags               = var.tags
}

# Jobs read what was staged and cannot write there: whoever may write below code/ and runs/ decides what jobs run.
data "aws_iam_policy_document" "jobs" {
  statement {
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.staging.arn]
  }
  statement {
    actions   = ["s3:GetObject"]
    resources = local.staged
  }
  statement {
    actions   = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]
    resources = concat(local.written, [for bucket in var.output_bucket_arns : "${bucket}/*"])
  }
  statement {
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    resources = ["${local.arn}:logs:${local.region}:${local.account}:log-group:${local.log_group}*"]
  }
  statement {
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = ["/aws/sagemaker/TrainingJobs"]
    }
  }
  dynamic "statement" {
    for_each = length(var.repository_arns) == 0 ? [] : [1]
    content {
      actions   = ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"]
      resources = var.repository_arns
    }
  }
  dynamic "statement" {
    for_each = length(var.repository_arns) == 0 ? [] : [1]
    content {
      actions   = ["ecr:GetAuthorizationToken"]
      resources = ["*"]
    }
  }
  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [1]
    content {
      actions   = ["kms:Decrypt", "kms:GenerateDataKey", "kms:CreateGrant", "kms:DescribeKey"]
      resources = [var.kms_key_arn]
    }
  }
  dynamic "statement" {
    for_each = var.vpc == null ? [] : [1]
    content {
      actions = [
        "ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission",
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcs", "ec2:DescribeDhcpOptions", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups",
      ]
      resources = ["*"]
    }
  }
}

resource "aws_iam_role_policy" "jobs" {
  name   = "jobs"
  role   = aws_iam_role.jobs.id
  policy = data.aws_iam_policy_document.jobs.json
}

# What docs/sagemaker.md (Rights) lists for Merit's own identity.
data "aws_iam_policy_document" "merit" {
  statement {
    actions   = ["sagemaker:CreateTrainingJob", "sagemaker:AddTags", "sagemaker:StopTrainingJob"]
    resources = ["${local.jobs}/m-*"]
  }
  statement {
    actions   = ["sagemaker:DescribeTrainingJob"]
    resources = ["${local.jobs}/*"]
  }
  statement {
    actions   = ["sagemaker:ListTrainingJobs"]
    resources = ["*"]
  }
  statement {
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.jobs.arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["sagemaker.amazonaws.com"]
    }
  }
  statement {
    actions   = ["logs:DescribeLogStreams", "logs:GetLogEvents"]
    resources = ["${local.arn}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"]
  }
  statement {
    actions   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.staging.arn]
  }
  statement {
    actions   = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = local.staged
  }
}

resource "aws_iam_role_policy" "merit" {
  count  = var.merit_role_name == null ? 0 : 1
  name   = "merit-pool-${var.name}"
  role   = var.merit_role_name
  policy = data.aws_iam_policy_document.merit.json
}

module "merit_pool" {
  source = "../merit-pool"
  name   = var.name
  kind   = "sagemaker"
  config = {
    region           = local.region
    roleArn          = aws_iam_role.jobs.arn
    image            = var.image
    s3               = "s3://${aws_s3_bucket.staging.bucket}/${var.prefix}"
    credentialsFile  = var.credentials_file
    vpc              = var.vpc == null ? null : { subnets = var.vpc.subnet_ids, securityGroupIds = var.vpc.security_group_ids }
    networkIsolation = var.network_isolation
    kmsKeyId         = var.kms_key_arn
    tags             = length(var.tags) == 0 ? null : var.tags
    flavours = [for name, flavour in var.flavours : {
      name         = name
      instanceType = flavour.instance_type
      gpus         = flavour.gpus
      cpus         = flavour.cpus
      memoryGib    = flavour.memory_gib
      instances    = flavour.instances
      spot         = flavour.spot
    }]
  }
  flavours = { for name, flavour in var.flavours : name => {
    resource = flavour.gpus > 0 ? "gpu" : "cpu"
    capacity = flavour.instances * (flavour.gpus > 0 ? flavour.gpus : flavour.cpus)
    gpu_type = flavour.gpu_type
    spot     = flavour.spot
    price    = flavour.price
  } }
}

output "merit_pool" {
  description = "What `merit pools import` reads."
  value       = module.merit_pool.merit_pool
}
