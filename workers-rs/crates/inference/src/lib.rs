//! OpenVINO: devices, models and pools of inference requests.
