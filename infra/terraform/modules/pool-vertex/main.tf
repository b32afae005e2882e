# A pool of Vertex AI's custom jobs: where they are staged, the account that they run with, and what Merit's own account may do. The machines are Vertex AI's,
# made for each job; how many there may be is the project's quota, which `machines` declares. What Merit is told is in told/, which needs no provider.

terraform {
  required_version = ">= 1.6.0"
  required_providers {
    google = { source = "hashicorp/google", version = ">= 5.0" }
  }
}

resource "google_project_service" "needed" {
  for_each           = toset(["aiplatform.googleapis.com", "storage.googleapis.com", "logging.googleapis.com"])
  project            = var.project
  service            = each.value
  disable_on_destroy = false
}

resource "google_storage_bucket" "staging" {
  name                        = "${var.project}-merit-${var.name}"
  project                     = var.project
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = var.labels

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [1]
    content {
      default_kms_key_name = var.kms_key
    }
  }

  # Merit deletes nothing that it staged.
  lifecycle_rule {
    condition {
      age            = var.staged_days
      matches_prefix = ["${var.prefix}/code/", "${var.prefix}/runs/"]
    }
    action {
      type = "Delete"
    }
  }
}

resource "google_service_account" "jobs" {
  project      = var.project
  account_id   = "merit-${substr(var.name, 0, 24)}"
  display_name = "Jobs of Merit's pool ${var.name}"
}

# Jobs read what they start from in code/ and runs/. Of the whole bucket, which has nothing else but their outputs: to mount it they list it, and no condition
# on names lets anybody list.
resource "google_storage_bucket_iam_member" "jobs_read" {
  bucket = google_storage_bucket.staging.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.jobs.member
}

# They write below output/ alone: whoever writes below code/ and runs/ decides what other jobs run.
resource "google_storage_bucket_iam_member" "jobs_write" {
  bucket = google_storage_bucket.staging.name
  role   = "roles/storage.objectUser"
  member = google_service_account.jobs.member

  condition {
    title      = "outputs"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.staging.name}/objects/${var.prefix}/output/\")"
  }
}

resource "google_project_iam_member" "jobs_log" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.jobs.member
}

locals {
  merit = var.merit_service_account == null ? {} : { (var.merit_service_account) = "serviceAccount:${var.merit_service_account}" }
}

resource "google_project_iam_member" "merit" {
  for_each = length(local.merit) == 0 ? [] : toset(["roles/aiplatform.user", "roles/logging.viewer"])
  project  = var.project
  role     = each.value
  member   = local.merit[var.merit_service_account]
}

resource "google_storage_bucket_iam_member" "merit" {
  for_each = local.merit
  bucket   = google_storage_bucket.staging.name
  role     = "roles/storage.objectUser"
  member   = each.value
}

resource "google_service_account_iam_member" "merit" {
  for_each           = local.merit
  service_account_id = google_service_account.jobs.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}

module "told" {
  source           = "./told"
  name             = var.name
  flavours         = var.flavours
  project          = var.project
  region           = var.region
  image            = var.image
  gcs              = "gs://${google_storage_bucket.staging.name}/${var.prefix}"
  service_account  = google_service_account.jobs.email
  credentials_file = var.credentials_file
  kms_key          = var.kms_key
  labels           = var.labels
}

output "merit_pool" {
  description = "What `merit pools import` reads."
  value       = module.told.merit_pool
}
