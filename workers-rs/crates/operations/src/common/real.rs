//! Real samples as bytes, whatever their precision and alignment; all arithmetic on them is in double precision.

use npufleet_wire::Dtype;
use npufleet_wire::frame::Tensor;
#[cfg(target_arch = "x86_64")]
use pulp::f64x4;

/// An element type that is computed in double precision.
pub(crate) trait Real {
    /// The element at an index of a tensor's bytes.
    fn get(bytes: &[u8], index: usize) -> f64;

    /// Rounds a number into the element at an index of a tensor's bytes.
    fn put(bytes: &mut [u8], index: usize, number: f64);

    /// Eight neighbouring elements.
    #[cfg(target_arch = "x86_64")]
    fn get_eight(bytes: &[u8], first: usize) -> [f64x4; 2];

    /// Rounds numbers into eight neighbouring elements.
    #[cfg(target_arch = "x86_64")]
    fn put_eight(bytes: &mut [u8], first: usize, numbers: [f64x4; 2]);

    /// Fills numbers with every `stride`th element from an index on.
    fn read<'a>(bytes: &[u8], first: usize, stride: usize, numbers: impl Iterator<Item = &'a mut f64>);

    /// Rounds numbers into every `stride`th element from an index on.
    fn write(bytes: &mut [u8], first: usize, stride: usize, numbers: impl Iterator<Item = f64>);
}

/// An element type, and how eight numbers are made of elements and rounded to them: as a whole where both are the same.
macro_rules! real {
    ($float:ty, $wide:expr, $near:expr) => {
        impl Real for $float {
            #[inline]
            fn get(bytes: &[u8], index: usize) -> f64 {
                f64::from(<$float>::from_le_bytes(bytes.as_chunks().0[index]))
            }

            #[inline]
            fn put(bytes: &mut [u8], index: usize, number: f64) {
                bytes.as_chunks_mut().0[index] = (number as $float).to_le_bytes();
            }

            #[cfg(target_arch = "x86_64")]
            #[inline(always)]
            fn get_eight(bytes: &[u8], first: usize) -> [f64x4; 2] {
                let bytes = &bytes[first * size_of::<$float>()..][..8 * size_of::<$float>()];
                $wide(bytemuck::pod_read_unaligned(bytes))
            }

            #[cfg(target_arch = "x86_64")]
            #[inline(always)]
            fn put_eight(bytes: &mut [u8], first: usize, numbers: [f64x4; 2]) {
                let bytes = &mut bytes[first * size_of::<$float>()..][..8 * size_of::<$float>()];
                bytes.copy_from_slice(bytemuck::bytes_of(&$near(numbers)));
            }

            #[inline]
            fn read<'a>(bytes: &[u8], first: usize, stride: usize, numbers: impl Iterator<Item = &'a mut f64>) {
                let elements = bytes.as_chunks().0[first..].iter();
                let copy = |(number, element): (&mut f64, &[u8; size_of::<$float>()])| {
                    *number = f64::from(<$float>::from_le_bytes(*element));
                };
                // Neighbours are copied many at once.
                match stride {
                    1 => numbers.zip(elements).for_each(copy),
                    _ => numbers.zip(elements.step_by(stride)).for_each(copy),
                }
            }

            #[inline]
            fn write(bytes: &mut [u8], first: usize, stride: usize, numbers: impl Iterator<Item = f64>) {
                let elements = bytes.as_chunks_mut().0[first..].iter_mut();
                let copy = |(number, element): (f64, &mut [u8; size_of::<$float>()])| {
                    *element = (number as $float).to_le_bytes();
                };
                match stride {
                    1 => numbers.zip(elements).for_each(copy),
                    _ => numbers.zip(elements.step_by(stride)).for_each(copy),
                }
            }
        }
    };
}
real!(
    f32,
    |n: [f32; 8]| {
        let wide = |at: usize| f64x4(n[at].into(), n[at + 1].into(), n[at + 2].into(), n[at + 3].into());
        [wide(0), wide(4)]
    },
    |[a, b]: [f64x4; 2]| [a.0, a.1, a.2, a.3, b.0, b.1, b.2, b.3].map(|number| number as f32)
);
real!(
    f64,
    |numbers: [f64; 8]| bytemuck::cast(numbers),
    |numbers: [f64x4; 2]| bytemuck::cast::<_, [f64; 8]>(numbers)
);

/// Replaces a buffer's numbers by those of a real tensor.
pub(crate) fn read_all(tensor: &Tensor<'_>, numbers: &mut Vec<f64>) {
    numbers.clear();
    numbers.resize(tensor.info.elements(), 0.0);
    match tensor.info.dtype {
        Dtype::F32 => f32::read(tensor.data, 0, 1, numbers.iter_mut()),
        _ => f64::read(tensor.data, 0, 1, numbers.iter_mut()),
    }
}
