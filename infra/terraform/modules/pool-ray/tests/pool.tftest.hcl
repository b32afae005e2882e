mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/merit" }
  }
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/merit/1" }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/merit/1" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0a1b2c3d4e5f60718" }
  }
  mock_resource "aws_network_interface" {
    defaults = { private_ip = "10.0.0.7" }
  }
}

variables {
  name             = "gpus-us-east"
  subnet_ids       = ["subnet-0a1b", "subnet-0c2d"]
  merit_cidrs      = ["10.1.0.0/24"]
  domain           = "ray.example"
  certificate_arn  = "arn:aws:acm:us-east-1:123456789012:certificate/1"
  ami_id           = "ami-0a1b2c3d"
  token_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ray-token"
  token_file       = "/run/ray/token"
  flavours = {
    h100      = { instance_type = "p5.48xlarge", gpus = 8, cpus = 192, most = 4, gpu_type = "H100", price = { currency = "USD", per_unit_hour = "12.29" } }
    a10g-spot = { instance_type = "g5.12xlarge", gpus = 4, cpus = 48, least = 1, most = 6, spot = true, gpu_type = "A10G", price = { currency = "USD", per_unit_hour = "0.60" } }
  }
}

run "tells_the_most_as_capacity" {
  assert {
    condition     = { for flavour in output.merit_pool.flavours : flavour.name => flavour.capacity } == { a10g-spot = 24, h100 = 32 }
    error_message = "the capacity is the most machines times their GPUs"
  }
  assert {
    condition     = output.merit_pool.provider.config.address == "https://ray.example"
    error_message = "Merit asks by the name in the certificate"
  }
  assert {
    condition     = strcontains(base64decode(aws_launch_template.workers["h100"].user_data), "\"flavour_h100\": 1000000") && output.merit_pool.provider.config.flavours[1].resource == "flavour_h100"
    error_message = "a flavour's nodes have the resource that its jobs ask for"
  }
}

run "leaves_the_live_size_alone" {
  assert {
    condition     = aws_autoscaling_group.workers["a10g-spot"].min_size == 1 && aws_autoscaling_group.workers["a10g-spot"].max_size == 6
    error_message = "the least and the most are set"
  }
}

run "keeps_the_token_out_of_user_data" {
  assert {
    condition     = strcontains(aws_instance.head.user_data, "get-secret-value") && aws_instance.head.metadata_options[0].http_tokens == "required"
    error_message = "the machine fetches the token by its role"
  }
}

run "lets_nobody_else_at_the_jobs_api" {
  command         = plan
  expect_failures = [var.merit_cidrs]
  variables { merit_cidrs = ["0.0.0.0/0"] }
}
