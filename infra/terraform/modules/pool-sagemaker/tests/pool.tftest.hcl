mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/merit-training" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::merit-training-1", bucket = "merit-training-1" }
  }
}

variables {
  name  = "training"
  image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/train:1"
  flavours = {
    a10g      = { instance_type = "ml.g5.12xlarge", gpus = 4, cpus = 48, memory_gib = 192, instances = 2, gpu_type = "A10G", price = { currency = "USD", per_unit_hour = "1.77" } }
    a10g-spot = { instance_type = "ml.g5.12xlarge", gpus = 4, cpus = 48, instances = 8, spot = true, gpu_type = "A10G", price = { currency = "USD", per_unit_hour = "0.60" } }
    cpu       = { instance_type = "ml.c6i.4xlarge", cpus = 16, instances = 4, price = { currency = "USD", per_unit_hour = "0.05" } }
  }
}

run "tells_whole_instances_as_capacity" {
  assert {
    condition     = { for flavour in output.merit_pool.flavours : flavour.name => flavour.capacity } == { a10g = 8, a10g-spot = 32, cpu = 64 }
    error_message = "the capacity is instances times what each has"
  }
  assert {
    condition     = output.merit_pool.provider.config.s3 == "s3://merit-training-1/training"
    error_message = "jobs are staged in the bucket that was made"
  }
  assert {
    condition     = length(aws_iam_role_policy.merit) == 0
    error_message = "no role of Merit's was named"
  }
}

run "gives_merits_role_its_rights_where_it_is_named" {
  variables { merit_role_name = "merit" }
  assert {
    condition     = aws_iam_role_policy.merit[0].role == "merit"
    error_message = "the policy is the role's"
  }
}

run "runs_jobs_in_a_vpc_where_one_is_named" {
  variables { vpc = { subnet_ids = ["subnet-0a1b"], security_group_ids = ["sg-0a1b"] } }
  assert {
    condition     = output.merit_pool.provider.config.vpc.securityGroupIds[0] == "sg-0a1b"
    error_message = "the provider is told of the VPC"
  }
}
