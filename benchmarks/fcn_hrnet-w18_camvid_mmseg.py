# configs/hrnet/fcn_hrnet-w18_camvid.toml in mmseg's terms; mmseg_peer.py sets steps and seed.
# CAMVID is the folder that holds {train,val}/{images,labels}.
import os

norm_cfg = dict(type="BN", requires_grad=True)
crop_size = (256, 256)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True, pad_val=0, seg_pad_val=11, size=crop_size),
    pretrained=None,
    backbone=dict(
        type="HRNet", norm_cfg=norm_cfg, norm_eval=False,
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block="BOTTLENECK", num_blocks=(4,),
                        num_channels=(64,)),
            stage2=dict(num_modules=1, num_branches=2, block="BASIC", num_blocks=(4, 4),
                        num_channels=(18, 36)),
            stage3=dict(num_modules=4, num_branches=3, block="BASIC", num_blocks=(4, 4, 4),
                        num_channels=(18, 36, 72)),
            stage4=dict(num_modules=3, num_branches=4, block="BASIC", num_blocks=(4, 4, 4, 4),
                        num_channels=(18, 36, 72, 144)))),
    decode_head=dict(
        type="FCNHead", in_channels=[18, 36, 72, 144], in_index=(0, 1, 2, 3), channels=270,
        input_transform="resize_concat", kernel_size=1, num_convs=1, concat_input=False,
        dropout_ratio=-1, num_classes=11, ignore_index=11, norm_cfg=norm_cfg, align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0)),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"))


def split(name, batch_size, sampler, pipeline):
    return dict(
        batch_size=batch_size, num_workers=2, persistent_workers=True, sampler=sampler,
        dataset=dict(
            type="BaseSegDataset", data_root=os.environ["CAMVID"],
            metainfo=dict(classes=[str(i) for i in range(11)],
                          palette=[[i * 20] * 3 for i in range(11)]),
            img_suffix=".jpg", seg_map_suffix=".png",
            data_prefix=dict(img_path=f"{name}/images", seg_map_path=f"{name}/labels"),
            pipeline=pipeline))


load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
augment = [
    dict(type="RandomResize", scale=(480, 360), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion")]
pack = [dict(type="PackSegInputs")]
train_dataloader = split("train", 4, dict(type="InfiniteSampler", shuffle=True),
                         load + augment + pack)
val_dataloader = split("val", 1, dict(type="DefaultSampler", shuffle=False), load + pack)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", ignore_index=11, iou_metrics=["mIoU"])
test_evaluator = val_evaluator
del split, load, augment, pack

optim_wrapper = dict(type="OptimWrapper",
                     optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01))
param_scheduler = [dict(type="PolyLR", eta_min=1e-5, power=0.9, begin=0, end=150, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=150, val_interval=150)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(timer=dict(type="IterTimerHook"), logger=dict(type="LoggerHook", interval=10),
                     checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=150))
default_scope = "mmseg"
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork"))
log_level = "INFO"
